//go:build linux

// Package director_test restores the basket into a real Icinga Director, which
// is empty or has what people have in theirs, and lets a real Icinga 2 run what
// the Director makes of it.
package director_test

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

var (
	//go:embed check_network_connections.json
	basket string
	// The names of Linuxfabrik's objects for their check of the same sockets.
	//go:embed testdata/linuxfabrik.json
	upstream string
	// The fields of the first release.
	//go:embed testdata/fields-1.0.0.json
	released string
)

const (
	linuxCommand   = "check_network_connections"
	windowsCommand = linuxCommand + "-windows"
	template       = linuxCommand
)

var linuxOnly = []string{"--min-idle", "--netns", "--unit"}

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// One Director for all: it starts slowly and forgets quickly.
func TestDirector(t *testing.T) {
	director := start(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, installation)
	}{
		{"upstream's objects stay as they are", upstreamStays},
		{"a newer basket over an older one", newerOverOlder},
		{"services report the sockets of the host", servicesReport},
		{"every field reaches the command line", everyFieldReachesTheCommandLine},
		{"templates for agents run the check there", agentsRunTheCheck},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := director
			d.t = t
			d.reset()
			test.run(t, d)
		})
	}
}

// Who has Linuxfabrik's check keeps every object of it, whichever comes first.
func upstreamStays(t *testing.T, director installation) {
	director.restore(upstream)
	theirs := director.dump()
	director.restore(basket)
	both := director.dump()
	unchanged(t, theirs, both)

	director.restore(upstream)
	unchanged(t, both, director.dump())

	ours := director.query("SELECT COUNT(*) FROM director_datafield WHERE caption LIKE 'Network Connections:%'")
	if ours != "8" {
		t.Errorf("%s fields have captions like upstream's, want upstream's own 8", ours)
	}
}

// unchanged expects all lines of the first dump in the second.
func unchanged(t *testing.T, before, after []string) {
	t.Helper()
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("this is gone, or another: %s", line)
		}
	}
}

// A newer basket brings new fields, other thresholds and longer lists. What people
// have derived from its templates is theirs.
func newerOverOlder(t *testing.T, director installation) {
	director.restore(olderBasket(t))
	director.create("service", "ours", map[string]any{"object_type": "template",
		"imports": []string{template, template + "-thresholds"}, "check_interval": "300",
		"vars": map[string]any{variable("--warning"): []string{"close_wait=7"}}})
	const derived = "SELECT s.*, v.varname, v.varvalue, i.parent_service_id, i.weight FROM icinga_service s" +
		" JOIN icinga_service_var v ON v.service_id = s.id JOIN icinga_service_inheritance i ON i.service_id = s.id" +
		" WHERE object_name = 'ours' ORDER BY i.weight"
	before := director.query(derived)
	if !strings.Contains(before, "close_wait=7") {
		t.Fatalf("the derived template is %q", before)
	}

	director.restore(basket)
	if after := director.query(derived); after != before {
		t.Errorf("the derived template was\n%s\nnow it is\n%s", before, after)
	}
	const orphans = "SELECT varname, caption FROM director_datafield WHERE id NOT IN" +
		" (SELECT datafield_id FROM icinga_command_field UNION SELECT datafield_id FROM icinga_service_field)"
	if found := director.query(orphans); found != "" {
		t.Errorf("these fields belong to nothing:\n%s", found)
	}
	if twice := director.query("SELECT varname FROM director_datafield GROUP BY varname HAVING COUNT(*) > 1"); twice != "" {
		t.Errorf("these fields are there twice:\n%s", twice)
	}
	want := len(read(t).Datafield)
	if got := director.query("SELECT COUNT(*) FROM director_datafield"); got != fmt.Sprint(want) {
		t.Errorf("there are %s fields, want %d", got, want)
	}

	first := director.dump()
	director.restore(basket)
	second := director.dump()
	unchanged(t, first, second)
	unchanged(t, second, first)
}

// olderBasket is a basket as an earlier release may have had it: without two of the
// fields, with shorter lists and with other thresholds.
func olderBasket(t *testing.T) string {
	t.Helper()
	var older map[string]map[string]map[string]any
	if err := json.Unmarshal([]byte(basket), &older); err != nil {
		t.Fatal(err)
	}
	gone := map[string]bool{"--unit": true, "--direction": true}
	for id, field := range older["Datafield"] {
		for flag := range gone {
			if field["varname"] == variable(flag) {
				gone[id] = true
				delete(older["Datafield"], id)
			}
		}
	}
	for _, command := range older["Command"] {
		for flag := range gone {
			delete(command["arguments"].(map[string]any), flag)
		}
		command["fields"] = slices.DeleteFunc(command["fields"].([]any), func(field any) bool {
			return gone[fmt.Sprint(field.(map[string]any)["datafield_id"])]
		})
	}
	for _, list := range older["DataList"] {
		list["entries"] = list["entries"].([]any)[1:]
	}
	older["ServiceTemplate"][template+"-thresholds"]["vars"] = map[string]any{variable("--critical"): []string{"total=20000"}}
	text, err := json.Marshal(older)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The services are made of a template for the host and one for what is judged.
func servicesReport(t *testing.T, director installation) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	open, closed := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port), fmt.Sprint(e2e.FreePort(t))

	director.restore(basket)
	director.host("server", nil)
	often := func(vars map[string]any) map[string]any { return map[string]any{"check_interval": "1", "vars": vars} }
	director.service("server", "nothing judged", []string{template}, often(map[string]any{
		variable("--conn-status"): []string{"listen"}, variable("--local-port"): []string{open}}))
	director.service("server", "recommended", []string{template, template + "-thresholds"}, often(nil))
	director.service("server", "leaks", []string{template, template + "-leaks"}, often(nil))
	director.service("server", "limits", []string{template, template + "-limits"}, often(nil))
	director.service("server", "open port", []string{template, template + "-port"}, often(map[string]any{variable("--port"): open}))
	director.service("server", "closed port", []string{template, template + "-port"}, often(map[string]any{variable("--port"): closed}))

	plugins := director.folder("plugins")
	if err := os.Symlink(e2e.Plugin(t), filepath.Join(plugins, "check_network_connections")); err != nil {
		t.Fatal(err)
	}
	results := director.runIcinga(plugins, 6)
	const limits = `ephemeral_ports=[0-9.]+%;80;95;0;100 backlog=[0-9.]+%;80;95;0;100 .*open_files=[0-9.]+%;80;95;0;100$`
	for service, want := range map[string][3]string{
		"nothing judged": {`0`, `\[OK\] - tcp LISTEN: 1`, `tcp_LISTEN=1;;;0`},
		"recommended":    {`[012]`, `\[\w+\] - .*`, `.*` + limits},
		"leaks":          {`0`, `\[OK\] - tcp CLOSE WAIT: \d+, tcp6 CLOSE WAIT: \d+`, `tcp_CLOSE_WAIT=\d+;50;500;0 tcp6_CLOSE_WAIT=\d+;50;500;0`},
		"limits":         {`[012]`, `\[\w+\] - .*`, `.*` + limits},
		"open port":      {`0`, `\[OK\] - ` + open + `: 1`, open + `=1;;1:;0`},
		"closed port":    {`2`, `\[CRITICAL\] - ` + closed + `: 0 \[CRITICAL\]`, closed + `=0;;1:;0`},
	} {
		for i, field := range []string{"current_state", "plugin_output", "performance_data"} {
			if got := results["server!"+service][field]; !regexp.MustCompile("^" + want[i] + "$").MatchString(got) {
				t.Errorf("%s: %s is %q, want %s", service, field, got, want[i])
			}
		}
	}
}

// A stand-in for the program tells the command line that it was called with.
func everyFieldReachesTheCommandLine(t *testing.T, director installation) {
	director.restore(basket)
	director.host("server", nil)
	// As in Icinga 2 for Windows, the folder's name has a space in it.
	plugins := director.folder("Program Files/ICINGA2/sbin")
	wanted := map[string][]string{}
	for command, program := range map[string]string{
		linuxCommand:   "check_network_connections",
		windowsCommand: "check_network_connections.exe",
	} {
		script := "#!/bin/sh\nprintf '%s\\n' \"$0\" \"$@\"\n"
		if err := os.WriteFile(filepath.Join(plugins, program), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		variables := map[string]any{}
		want := []string{filepath.Join(plugins, program)}
		for flag, value := range fieldValues {
			if command == windowsCommand && slices.Contains(linuxOnly, flag) {
				continue
			}
			variables[variable(flag)] = value
			switch value := value.(type) {
			case bool:
				want = append(want, flag)
			case []string:
				for _, element := range value {
					want = append(want, flag, element)
				}
			default:
				want = append(want, flag, fmt.Sprint(value))
			}
		}
		wanted[command] = want
		director.service("server", command, []string{template}, map[string]any{
			"check_command": command, "check_interval": "1", "vars": variables,
		})
	}

	results := director.runIcinga(plugins, len(wanted))
	for command, want := range wanted {
		result := results["server!"+command]
		output := result["plugin_output"] + `\n` + result["long_plugin_output"]
		got := byFlag(strings.Split(strings.TrimSuffix(output, `\n`), `\n`))
		if want := byFlag(want); !slices.Equal(got, want) {
			t.Errorf("%s was called as\n%q\nwant\n%q", command, got, want)
		}
	}
}

// byFlag sorts a command line by its flags, which Icinga 2 gives in any order.
// The values of one flag stay in theirs.
func byFlag(commandLine []string) []string {
	var sorted []string
	for _, argument := range commandLine {
		if last := len(sorted) - 1; last >= 0 && !strings.HasPrefix(argument, "--") {
			sorted[last] += " " + argument
		} else {
			sorted = append(sorted, argument)
		}
	}
	slices.SortStableFunc(sorted, func(a, b string) int {
		return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0])
	})
	return sorted
}

// Without this, the check would count the sockets of the Icinga server and
// show them as those of every host.
func agentsRunTheCheck(t *testing.T, director installation) {
	director.restore(basket)
	agentTemplate, windowsTemplate := template+"-agent", template+"-windows"
	for host, want := range map[string]struct{ template, command string }{
		"linux":   {agentTemplate, linuxCommand},
		"windows": {windowsTemplate, windowsCommand},
	} {
		director.host(host, map[string]any{"has_agent": true, "master_should_connect": true, "accept_config": true})
		director.service(host, "connections", []string{want.template}, nil)

		var service struct {
			Command string `json:"check_command"`
			Agent   bool   `json:"use_agent"`
			Vars    map[string]any
		}
		plain := director.icingacli("", "director", "service", "show", "connections", "--host", host, "--resolved", "--json")
		if err := json.Unmarshal([]byte(plain), &service); err != nil {
			t.Fatal(err)
		}
		if service.Command != want.command || !service.Agent || len(service.Vars) != 0 {
			t.Errorf("a service from %s is\n%s\nwant %s on the agent, without thresholds", want.template, plain, want.command)
		}
	}

	config := director.render()
	for name, line := range map[string]string{agentTemplate: "command_endpoint = host_name", windowsTemplate: `import "` + agentTemplate + `"`} {
		pattern := regexp.MustCompile(`(?s)template Service "` + name + `" \{[^}]*` + regexp.QuoteMeta(line) + `\n`)
		if !pattern.MatchString(config) {
			t.Errorf("%s is rendered without %s:\n%s", name, line, config)
		}
	}
	icinga := e2e.NewIcinga(t, e2e.NewAuthority(t), "master")
	icinga.Start(`
const ZoneName = "master"
const PluginDir = "/usr/lib/nagios/plugins"
object Endpoint NodeName { }
object Zone "master" { endpoints = [ NodeName ] }
object Zone "director-global" { global = true }
include_zones "director", "` + director.dir + `/zones.d"
`)
}

// variable is the custom variable of a flag.
func variable(flag string) string {
	return "network_connections_" + strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_")
}
