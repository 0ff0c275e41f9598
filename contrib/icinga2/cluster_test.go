//go:build linux

package icinga2_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

// The plugin is only where the agents look for it: the master cannot have called
// it by itself. One agent has the command from the package and once more from the
// master, the other only from the master.
func TestMasterSeesWhatItsAgentsReport(t *testing.T) {
	plugin := e2e.Plugin(t)
	port := e2e.Connections(t)
	authority := e2e.NewAuthority(t)
	master := e2e.NewIcinga(t, authority, "master.example.com")
	shared := fmt.Sprintf(`
object Zone "master" { endpoints = [ %[1]q ] }
object Endpoint %[1]q {}
object Zone "global-templates" { global = true }
`, master.Name)

	// The files of this folder, with the agents of this test in place of those of
	// the sample.
	sample := replace(t, agentsFile, `host = address`, "host = \"127.0.0.1\"\n\t\tport = address")
	sample = replace(t, sample, `vars.os = "Linux"`, fmt.Sprintf(`vars.os = "Linux"
		vars.network_connections = {
			network_connections_remote_port = %d
			network_connections_warning = [ "tcp_established=2" ]
			network_connections_critical = [ "tcp_established=1000" ]
		}`, port))
	agents := map[string]struct{ address, command string }{
		"web1.example.com": {"192.0.2.11", commandFile},
		"db1.example.com":  {"192.0.2.12", ""},
	}
	for name, has := range agents {
		agent := e2e.NewIcinga(t, authority, name)
		agent.Start(plugins(filepath.Dir(plugin)) + has.command + shared + `
const ZoneName = NodeName
object Zone ZoneName {
	endpoints = [ NodeName ]
	parent = "master"
}
object Endpoint NodeName {}
`)
		sample = replace(t, sample, `"`+has.address+`"`, fmt.Sprintf(`"%d"`, agent.Port))
	}
	master.Write("zones.d/global-templates/network_connections.conf", commandFile)
	master.Write("zones.d/master/network_connections_services.conf", everySecond(servicesFile))
	master.Write("zones.d/master/network_connections_agents.conf", sample)
	master.Start(plugins(master.Path("plugins")) + "const ZoneName = \"master\"\n" + shared)

	for name := range agents {
		e2e.ExpectConnections(t, master.Service(name+"!network-connections"), port)
	}
}

func replace(t *testing.T, text, old, replacement string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is not in this text exactly once:\n%s", old, text)
	}
	return strings.Replace(text, old, replacement, 1)
}
