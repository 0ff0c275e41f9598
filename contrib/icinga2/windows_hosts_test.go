//go:build linux

package icinga2_test

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

var (
	//go:embed network_connections_windows.conf
	windowsCommandFile string
	//go:embed network_connections_windows_services.conf
	windowsServicesFile string
)

// A stand-in for the program tells the command line that it was called with.
func TestWindowsHostsGetTheirOwnServiceAndCommand(t *testing.T) {
	icinga := e2e.NewIcinga(t, e2e.NewAuthority(t), "icinga.example.com")
	const echo = "#!/bin/sh\nprintf '%s ' called ${0##*/} \"$@\"\n"
	icinga.Write("plugins/check_network_connections", echo)
	icinga.Write("plugins/check_network_connections.exe", echo)
	again := icinga.Write("again.conf", windowsCommandFile) // as a copy that was left behind
	hosts := ""
	for name, system := range map[string]string{"web": "Windows", "db": "Linux", "switch": "IOS"} {
		hosts += "object Host \"" + name + "\" {\n\tzone = ZoneName\n\tcheck_command = \"dummy\"\n\tvars.os = \"" + system + "\"\n\tvars.agent_endpoint = NodeName\n}\n"
	}
	icinga.Start(plugins(icinga.Path("plugins")) + commandFile + windowsCommandFile + fmt.Sprintf("include %q\n", again) + everySecond(servicesFile) + everySecond(windowsServicesFile) + hosts)

	results := icinga.Services(2)
	for host, want := range map[string]string{
		"web": "called check_network_connections.exe --critical close_wait=500 --warning close_wait=50",
		"db":  "called check_network_connections --critical close_wait=500 --critical limits=95 --warning close_wait=50 --warning limits=80",
	} {
		if got := strings.TrimSpace(results[host+"!network-connections"]["plugin_output"]); got != want {
			t.Errorf("%s: got  %s\nwant %s", host, got, want)
		}
	}
	if len(results) != 2 {
		t.Errorf("got %v", results)
	}
}
