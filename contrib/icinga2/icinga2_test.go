//go:build linux

// Package icinga2_test lets real Icinga 2 daemons run the definitions in this
// folder: one by itself, and a master with an agent.
package icinga2_test

import (
	_ "embed"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

var (
	//go:embed network_connections.conf
	commandFile string
	//go:embed service.conf
	serviceFile string
	//go:embed agent.conf
	agentFile string
)

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// argument is one in the arguments of the CheckCommand.
var argument = regexp.MustCompile(`(?m)^\t\t"--([a-z-]+)" = \{\n\t\t\t(value|set_if) = "\$([a-z0-9_]+)\$"\n(?:\t\t\trepeat_key = true\n)?\t\t\tdescription = "(.+)"\n\t\t\}$`)

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
		"critical":       {"close_wait=50", "-5:5", "~:10", "@10:20"},
		"local-address":  {"10.0.0.0/8", "!10.0.0.5"},
		"local-port":     {"80,443", "!8000-8100"},
		"process":        {"java", "!two words"},
		"remote-address": {"fd00::/8", "!::1"},
		"remote-port":    {"5432", "!53"},
		"user":           {"www-data", "!0"},
		"warning":        {"2000", "close_wait=10"},
	}
	values := map[string]string{
		"min-idle": "5m",
		"netns":    "all",
		"source":   "gopsutil",
		"test":     "out.json,,0",
		"timeout":  "10",
		"top":      "0",
	}
	switches := []string{"always-ok", "debug", "no-details", "no-perfdata", "verbose", "zero"}

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
				if flag == "timeout" || flag == "top" {
					return values[flag]
				}
				return ""
			},
			want: func(flag string) []string {
				if flag == "timeout" || flag == "top" {
					return []string{"--" + flag, values[flag]}
				}
				return nil
			},
		},
	}

	icinga := newIcinga(t, "icinga.example.com")
	icinga.write("plugins/check_network_connections", "#!/bin/sh\nprintf '%s\\n' called \"$@\"\n")
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
	icinga.start(icinga.path("plugins"), commandFile+config)

	results := icinga.results(len(services))
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

func TestSampleServiceReportsTheSocketsOfThisMachine(t *testing.T) {
	plugin := e2e.Plugin(t)
	port := e2e.Connections(t)

	icinga := newIcinga(t, "icinga.example.com")
	icinga.start(filepath.Dir(plugin), commandFile+everySecond(serviceFile)+fmt.Sprintf(`
object Host "ordinary" {
	check_command = "dummy"
	vars.os = "Linux"
}
object Host "special" {
	check_command = "dummy"
	vars.os = "Linux"
	vars.network_connections = {
		network_connections_remote_port = %d
		network_connections_warning = [ "tcp_established=2" ]
		network_connections_critical = [ "tcp_established=1000" ]
	}
}
object Host "other system" {
	check_command = "dummy"
	vars.os = "Windows"
}
`, port))

	results := icinga.results(2)
	e2e.ExpectConnections(t, results["special!network-connections"], port)

	// The ranges of the sample are understood, whatever this machine is up to.
	ordinary := results["ordinary!network-connections"]
	if ordinary["current_state"] == "3" || !strings.Contains(ordinary["plugin_output"], ", total: ") {
		t.Errorf("the state is %s, the output %q", ordinary["current_state"], ordinary["plugin_output"])
	}
	for _, want := range []string{
		`tcp_ESTABLISHED=\d+;2000;;0`,
		`total=\d+;10000;20000;0`,
		`ephemeral_ports=[0-9.]+%;80;95;0;100`,
	} {
		if !regexp.MustCompile(`(^| )` + want + `( |$)`).MatchString(ordinary["performance_data"]) {
			t.Errorf("the performance data %q lack %s", ordinary["performance_data"], want)
		}
	}
	if _, exists := results["other system!network-connections"]; exists {
		t.Error("the service was applied to a host that is not Linux")
	}
}

// The agent knows the command from the package, or gets it from the master.
func TestMasterSeesWhatItsAgentReports(t *testing.T) {
	t.Run("command installed on both", func(t *testing.T) {
		cluster := newCluster(t)
		cluster.expectResult(commandFile)
	})
	t.Run("command in the global zone", func(t *testing.T) {
		cluster := newCluster(t)
		cluster.master.write("zones.d/global-templates/network_connections.conf", commandFile)
		cluster.expectResult("")
	})
}

// cluster is a master and an agent with certificates of the master's own
// authority. Neither runs yet.
type cluster struct {
	t             *testing.T
	master, agent icinga
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	c := cluster{t, newIcinga(t, "master.example.com"), newIcinga(t, "web1.example.com")}
	c.master.icinga2("pki", "new-ca")
	for _, node := range []icinga{c.master, c.agent} {
		certificate := node.path("data/certs/" + node.name)
		node.icinga2("pki", "new-cert", "--cn", node.name, "--key", certificate+".key", "--csr", certificate+".csr")
		request, signed := c.master.path("data/"+node.name+".csr"), c.master.path("data/"+node.name+".crt")
		node.copy(certificate+".csr", request)
		c.master.icinga2("pki", "sign-csr", "--csr", request, "--cert", signed)
		node.copy(signed, certificate+".crt")
		node.copy(c.master.path("data/ca/ca.crt"), node.path("data/certs/ca.crt"))
	}
	return c
}

// expectResult starts both with the configuration that they share, and expects
// that the master comes to know of connections of this test. The plugin is only
// where the agent looks for it: the master cannot have called it by itself.
func (c cluster) expectResult(shared string) {
	c.t.Helper()
	plugin := e2e.Plugin(c.t)
	port := e2e.Connections(c.t)
	masterPort, agentPort := e2e.FreePort(c.t), e2e.FreePort(c.t)
	shared += fmt.Sprintf(`
object Zone "master" { endpoints = [ %[1]q ] }
object Endpoint %[1]q {}
object Zone "global-templates" { global = true }
`, c.master.name)

	c.agent.start(filepath.Dir(plugin), shared+fmt.Sprintf(`
const ZoneName = NodeName
object Zone ZoneName {
	endpoints = [ NodeName ]
	parent = "master"
}
object Endpoint NodeName {}
object ApiListener "api" {
	bind_host = "127.0.0.1"
	bind_port = %d
	accept_commands = true
	accept_config = true
}
`, agentPort))
	e2e.WaitFor(c.t, 30*time.Second, "the agent to listen", func() bool {
		connection, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", agentPort))
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})

	// The files of this folder, with the agent of this test in place of the
	// two of the sample.
	sample := replace(c.t, agentFile, `	"web1.example.com" = "192.0.2.11"`, `	"web1.example.com" = "127.0.0.1"`)
	sample = replace(c.t, sample, `	"db1.example.com" = "192.0.2.12"`, ``)
	sample = replace(c.t, sample, `host = address`, fmt.Sprintf("host = address\n\t\tport = %d", agentPort))
	sample = replace(c.t, sample, `vars.os = "Linux"`, fmt.Sprintf(`vars.os = "Linux"
		vars.network_connections = {
			network_connections_remote_port = %d
			network_connections_warning = [ "tcp_established=2" ]
			network_connections_critical = [ "tcp_established=1000" ]
		}`, port))
	c.master.write("zones.d/master/service.conf", everySecond(serviceFile))
	c.master.write("zones.d/master/agent.conf", sample)
	c.master.start(c.master.path("plugins"), shared+fmt.Sprintf(`
const ZoneName = "master"
object ApiListener "api" {
	bind_host = "127.0.0.1"
	bind_port = %d
}
`, masterPort))

	// An agent that gets new configuration starts again. A check that it was
	// asked for meanwhile is lost, and asked for again 30 seconds after its
	// timeout. Until then the output is Icinga's, not the plugin's.
	var result map[string]string
	e2e.WaitFor(c.t, 2*time.Minute, "a result from the agent", func() bool {
		result = e2e.Services(c.master.path("run/status.dat"))[c.agent.name+"!network-connections"]
		return strings.HasPrefix(result["plugin_output"], "[")
	})
	e2e.ExpectConnections(c.t, result, port)
}

// everySecond returns the sample service as it is but for the times, for which
// no test can wait.
func everySecond(config string) string {
	config = regexp.MustCompile(`(?m)^(\t\w+_interval) = .*$`).ReplaceAllString(config, "$1 = 1s")
	return regexp.MustCompile(`(?m)^\tmax_check_attempts = .*$`).ReplaceAllString(config, "$0\n\tcheck_timeout = 10s")
}

func replace(t *testing.T, text, old, replacement string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is not in this text exactly once:\n%s", old, text)
	}
	return strings.Replace(text, old, replacement, 1)
}

// variable is the custom variable of a flag.
func variable(flag string) string {
	return "network_connections_" + strings.ReplaceAll(flag, "-", "_")
}

// icinga is an Icinga 2 with all its files in a folder of its own.
type icinga struct {
	t      *testing.T
	name   string
	folder string
	owner  *user.User
}

func newIcinga(t *testing.T, name string) icinga {
	t.Helper()
	e2e.NeedRoot(t)
	e2e.Need(t, "icinga2-bin icinga2-common", "icinga2")
	// Icinga 2 started by root goes on as this user.
	owner, err := user.Lookup("nagios")
	if err != nil {
		e2e.Skip(t, "the user nagios is missing: apt-get install icinga2-common")
	}
	node := icinga{t, name, e2e.Folder(t), owner}
	for _, name := range []string{"cache", "data/ca", "data/certs", "log", "plugins", "run", "spool", "zones.d"} {
		node.mkdir(node.path(name))
	}
	return node
}

func (i icinga) path(name string) string { return filepath.Join(i.folder, name) }

func (i icinga) mkdir(path string) {
	i.t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		i.t.Fatal(err)
	}
	for ; path != i.folder; path = filepath.Dir(path) {
		i.own(path)
	}
}

func (i icinga) own(path string) {
	i.t.Helper()
	uid, _ := strconv.Atoi(i.owner.Uid)
	gid, _ := strconv.Atoi(i.owner.Gid)
	if err := os.Chown(path, uid, gid); err != nil {
		i.t.Fatal(err)
	}
}

// write writes a file that Icinga 2 can read and execute.
func (i icinga) write(name, content string) string {
	i.t.Helper()
	path := i.path(name)
	i.mkdir(filepath.Dir(path))
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		i.t.Fatal(err)
	}
	i.own(path)
	return path
}

func (i icinga) copy(from, to string) {
	i.t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		i.t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o644); err != nil {
		i.t.Fatal(err)
	}
	i.own(to)
}

// arguments adds the folders to a command line of icinga2.
func (i icinga) arguments(line ...string) []string {
	for constant, folder := range map[string]string{
		"CacheDir": "cache", "DataDir": "data", "InitRunDir": "run", "LogDir": "log", "SpoolDir": "spool", "ZonesDir": "zones.d",
	} {
		line = append(line, "--define", constant+"="+i.path(folder))
	}
	return line
}

func (i icinga) icinga2(line ...string) {
	i.t.Helper()
	e2e.Run(i.t, "icinga2", i.arguments(line...)...)
}

// start validates a configuration and runs it until the test ends.
func (i icinga) start(plugins, config string) {
	i.t.Helper()
	file := i.write("icinga2.conf", fmt.Sprintf(`
include <itl>
const NodeName = %q
const PluginContribDir = %q
object CheckerComponent "checker" {}
object StatusDataWriter "status" {
	status_path = %q
	objects_path = %q
	update_interval = 1s
}
`, i.name, plugins, i.path("run/status.dat"), i.path("run/objects.cache"))+config)
	i.icinga2("daemon", "--validate", "--config", file)
	e2e.Start(i.t, exec.Command("icinga2", i.arguments("daemon", "--config", file)...))
}

// results returns the status of the services by host!service once that many
// have been checked.
func (i icinga) results(count int) map[string]map[string]string {
	i.t.Helper()
	var results map[string]map[string]string
	e2e.WaitFor(i.t, 60*time.Second, "the results of the checks", func() bool {
		results = e2e.Services(i.path("run/status.dat"))
		return len(results) == count
	})
	return results
}
