//go:build linux

package icinga2_test

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

// One Icinga 2 runs the sample services of several hosts. It has the command
// twice, as an agent has that knows it from the package and from the master.
func TestSampleServices(t *testing.T) {
	plugin := e2e.Plugin(t)
	connections := e2e.Connections(t)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	open, closed := listener.Addr().(*net.TCPAddr).Port, e2e.FreePort(t)

	icinga := e2e.NewIcinga(t, e2e.NewAuthority(t), "icinga.example.com")
	again := icinga.Write("again.conf", commandFile) // as from zones.d/global-templates
	icinga.Start(plugins(filepath.Dir(plugin)) + commandFile + fmt.Sprintf("include %q\n", again) + everySecond(servicesFile) + fmt.Sprintf(`
template Host "any" {
	zone = ZoneName
	check_command = "dummy"
	vars.os = "Linux"
}
object Host NodeName {
	import "any"
	vars.network_connections_leaks = true
	vars.network_connections_limits = true
	vars.network_connections_listen = [ %d, "%d" ]
}
object Host "agent" {
	import "any"
	vars.agent_endpoint = NodeName
	vars.network_connections = {
		network_connections_remote_port = %d
		network_connections_warning = "tcp_established=2"
		network_connections_critical = "tcp_established=1000"
	}
}
object Host "without agent" {
	import "any"
	vars.network_connections_leaks = true
	vars.network_connections_limits = true
	vars.network_connections_listen = [ 22 ]
}
object Host "other system" {
	import "any"
	vars.os = "Windows"
	vars.agent_endpoint = NodeName
}
`, open, closed, connections))

	results := icinga.Services(6)
	const limits = `ephemeral_ports=[0-9.]+%;80;95;0;100 backlog=[0-9.]+%;80;95;0;100 .*open_files=[0-9.]+%;80;95;0;100$`
	want := map[string]struct{ state, output, perfdata string }{
		"network-connections":        {`[012]`, `^\[\w+\] - .*(limits: |ephemeral ports: )`, limits},
		"network-connections-leaks":  {`0`, `^\[OK\] - tcp CLOSE WAIT: \d+, tcp6 CLOSE WAIT: \d+$`, `^tcp_CLOSE_WAIT=\d+;50;500;0 tcp6_CLOSE_WAIT=\d+;50;500;0$`},
		"network-connections-limits": {`[012]`, `^\[\w+\] - .*(limits: |ephemeral ports: )`, limits},
		fmt.Sprint("network-connections-port-", open): {`0`,
			fmt.Sprintf(`^\[OK\] - %d: 1$`, open), fmt.Sprintf(`^%d=1;;1:;0$`, open)},
		fmt.Sprint("network-connections-port-", closed): {`2`,
			fmt.Sprintf(`^\[CRITICAL\] - %d: 0 \[CRITICAL\]$`, closed), fmt.Sprintf(`^%d=0;;1:;0$`, closed)},
	}
	names := []string{"agent!network-connections"}
	for name, want := range want {
		name = icinga.Name + "!" + name
		names = append(names, name)
		for field, pattern := range map[string]string{
			"current_state": "^" + want.state + "$", "plugin_output": want.output, "performance_data": want.perfdata,
		} {
			if got := results[name][field]; !regexp.MustCompile(pattern).MatchString(got) {
				t.Errorf("%s: %s is %q, want %s", name, field, got, pattern)
			}
		}
	}
	e2e.ExpectConnections(t, results["agent!network-connections"], connections)

	// Everybody else's sockets are not this node's.
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(results)); !slices.Equal(got, names) {
		t.Errorf("the services are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(names, "\n"))
	}
}

func TestSampleHasTheRecommendedThresholds(t *testing.T) {
	warning, critical := e2e.Recommended(t)
	for name, values := range map[string][]string{"warning": warning, "critical": critical} {
		line := fmt.Sprintf("\tvars.network_connections_%s = [ \"%s\" ]\n", name, strings.Join(values, `", "`))
		if !strings.Contains(servicesFile, line) {
			t.Errorf("the services lack %s", line)
		}
	}
}

// everySecond returns the sample services as they are but for the times, for
// which no test can wait.
func everySecond(config string) string {
	return regexp.MustCompile(`(?m)^(\t\w+_interval) = .*$`).ReplaceAllString(config, "$1 = 1s\n\tcheck_timeout = 10s")
}
