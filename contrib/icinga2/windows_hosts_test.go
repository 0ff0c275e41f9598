//go:build linux

package icinga2_test

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var (
	//go:embed network_connections_windows.conf
	windowsCommandFile string
	//go:embed service_windows.conf
	windowsServiceFile string
)

// A stand-in for the program tells the command line that it was called with.
func TestWindowsHostsGetTheirOwnServiceAndCommand(t *testing.T) {
	icinga := newIcinga(t, "icinga.example.com")
	const echo = "#!/bin/sh\nprintf '%s ' called ${0##*/} \"$@\"\n"
	icinga.write("plugins/check_network_connections", echo)
	icinga.write("plugins/check_network_connections.exe", echo)
	config := fmt.Sprintf("const PluginDir = %q\n", icinga.path("plugins"))
	for name, system := range map[string]string{"web": "Windows", "db": "Linux", "switch": "IOS"} {
		config += fmt.Sprintf("object Host %q {\n\tcheck_command = \"dummy\"\n\tvars.os = %q\n}\n", name, system)
	}
	icinga.start(icinga.path("plugins"), config+commandFile+windowsCommandFile+everySecond(serviceFile)+everySecond(windowsServiceFile))

	results := icinga.results(2)
	for host, program := range map[string]string{"web": "check_network_connections.exe", "db": "check_network_connections"} {
		output := results[host+"!network-connections"]["plugin_output"]
		words := strings.Fields(output)
		if len(words) < 3 || words[1] != program {
			t.Errorf("%s: %s", host, output)
		}
		if isLinux := slices.Contains(words, "ephemeral=80"); isLinux != (host == "db") {
			t.Errorf("%s: a threshold for ephemeral ports: %t", host, isLinux)
		}
		if !slices.Contains(words, "total=20000") {
			t.Errorf("%s: the thresholds are missing: %s", host, output)
		}
	}
}
