//go:build linux

// Package icinga2_test lets real Icinga 2 daemons run the definitions in this
// folder: one by itself, and a master with an agent.
package icinga2_test

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

var (
	//go:embed network_connections.conf
	commandFile string
	//go:embed network_connections_services.conf
	servicesFile string
	//go:embed network_connections_agents.conf
	agentsFile string
)

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// argument is one in the arguments of the CheckCommand.
var argument = regexp.MustCompile(`(?m)^\t+"--([a-z-]+)" = \{\n\t+(value|set_if) = "\$([a-z0-9_]+)\$"\n(?:\t+repeat_key = true\n)?\t+description = "(.+)"\n\t+\}$`)

func TestCommandHasAnArgumentForEveryFlag(t *testing.T) {
	got := map[string]string{}
	for _, match := range argument.FindAllStringSubmatch(commandFile, -1) {
		got[match[1]] = match[2] + " " + match[3]
	}
	want := map[string]string{}
	for _, flag := range e2e.Flags(t) {
		way := "set_if"
		if flag.TakesValue {
			way = "value"
		}
		want[flag.Name] = way + " " + variable(flag.Name)
	}
	delete(want, "debug") // Icinga 2 would show what it prints in place of the result
	if !maps.Equal(got, want) {
		t.Errorf("the arguments are not the program's flags\narguments: %v\nflags:     %v", got, want)
	}
}

// A stand-in for the program tells the command line that it was called with.
func TestEveryVariableReachesTheCommandLine(t *testing.T) {
	lists := map[string][]string{
		"by":             {"process", "remote-port"},
		"conn-status":    {"close_wait", "established"},
		"conn-type":      {"tcp", "udp6"},
		"critical":       {"close_wait=500", "-5:5", "~:10", "@10:20"},
		"direction":      {"in", "not:listen"},
		"local-address":  {"10.0.0.0/8", "not:10.0.0.5"},
		"local-port":     {"80,443", "not:8000-8100"},
		"process":        {"java", "not:two words"},
		"remote-address": {"fd00::/8", "not:::1"},
		"remote-port":    {"5432", "!53"},
		"unit":           {"nginx.service", "not:ssh.service"},
		"user":           {"www-data", "not:0"},
		"warning":        {"limits=80", "close_wait=50"},
	}
	values := map[string]string{
		"min-idle": "5m",
		"netns":    "all",
		"source":   "gopsutil",
		"test":     "out.json,,0",
		"timeout":  "10",
		"top":      "0",
	}
	switches := []string{"always-ok", "no-details", "no-perfdata", "verbose", "zero"}

	covered := slices.Sorted(slices.Values(slices.Concat(
		slices.Collect(maps.Keys(lists)), slices.Collect(maps.Keys(values)), switches)))
	var flags []string
	for _, match := range argument.FindAllStringSubmatch(commandFile, -1) {
		flags = append(flags, match[1])
	}
	slices.Sort(flags)
	if !slices.Equal(covered, flags) {
		t.Fatalf("this test does not cover the arguments of the command\ncovered:   %v\narguments: %v", covered, flags)
	}

	services := map[string]struct {
		set  func(flag string) string // the custom variable's value
		want func(flag string) []string
	}{
		"nothing": {
			set:  func(string) string { return "" },
			want: func(string) []string { return nil },
		},
		"switched off": {
			set: func(flag string) string {
				if slices.Contains(switches, flag) {
					return "false"
				}
				return ""
			},
			want: func(string) []string { return nil },
		},
		"one value each": {
			set: func(flag string) string {
				switch {
				case lists[flag] != nil:
					return strconv.Quote(lists[flag][0])
				case slices.Contains(switches, flag):
					return "true"
				}
				return strconv.Quote(values[flag])
			},
			want: func(flag string) []string {
				switch {
				case lists[flag] != nil:
					return []string{"--" + flag, lists[flag][0]}
				case slices.Contains(switches, flag):
					return []string{"--" + flag}
				}
				return []string{"--" + flag, values[flag]}
			},
		},
		"lists": {
			set: func(flag string) string {
				if lists[flag] == nil {
					return ""
				}
				return `[ "` + strings.Join(lists[flag], `", "`) + `" ]`
			},
			want: func(flag string) []string {
				var arguments []string
				for _, value := range lists[flag] {
					arguments = append(arguments, "--"+flag, value)
				}
				return arguments
			},
		},
		"numbers": {
			set: func(flag string) string {
				return map[string]string{"timeout": "10s", "top": "0", "min-idle": "5m", "local-port": "443"}[flag]
			},
			want: func(flag string) []string {
				if value := map[string]string{"timeout": "10", "top": "0", "min-idle": "300", "local-port": "443"}[flag]; value != "" {
					return []string{"--" + flag, value}
				}
				return nil
			},
		},
	}

	icinga := e2e.NewIcinga(t, e2e.NewAuthority(t), "icinga.example.com")
	icinga.Write("plugins/check_network_connections", "#!/bin/sh\nprintf '%s\\n' called \"$@\"\n")
	config := "object Host \"server\" { check_command = \"dummy\" }\n"
	for name, service := range services {
		config += fmt.Sprintf("object Service %q {\n\thost_name = \"server\"\n\tcheck_command = \"network_connections\"\n\tcheck_interval = 1s\n", name)
		for _, flag := range flags {
			if value := service.set(flag); value != "" {
				config += "\tvars." + variable(flag) + " = " + value + "\n"
			}
		}
		config += "}\n"
	}
	icinga.Start(plugins(icinga.Path("plugins")) + commandFile + config)

	results := icinga.Services(len(services))
	for name, service := range services {
		t.Run(name, func(t *testing.T) {
			var want []string
			for _, flag := range flags {
				want = append(want, service.want(flag)...)
			}
			result := results["server!"+name]
			output := result["plugin_output"] + `\n` + result["long_plugin_output"]
			line, called := strings.CutPrefix(strings.TrimSuffix(output, `\n`), "called")
			if got := sorted(strings.Split(line, `\n`)[1:]); !called || !slices.Equal(got, want) {
				t.Errorf("the command line was\n%q\nwant\n%q", got, want)
			}
		})
	}
}

// sorted sorts a command line by its flags. Icinga 2 keeps the order within a
// list only.
func sorted(line []string) []string {
	var flags [][]string
	for _, word := range line {
		if strings.HasPrefix(word, "--") {
			flags = append(flags, nil)
		}
		if len(flags) == 0 {
			return line
		}
		flags[len(flags)-1] = append(flags[len(flags)-1], word)
	}
	slices.SortStableFunc(flags, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return slices.Concat(flags...)
}

// plugins says where the plugins are.
func plugins(folder string) string {
	return fmt.Sprintf("const PluginDir = %q\nconst PluginContribDir = PluginDir\n", folder)
}

// variable is the custom variable of a flag.
func variable(flag string) string {
	return "network_connections_" + strings.ReplaceAll(flag, "-", "_")
}
