package main

import (
	"errors"
	stdnet "net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

func TestEphemeralPortsOfThePeerThatUsesMost(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	for name, value := range map[string]string{"ip_local_port_range": "40000 40099", "ip_local_reserved_ports": "40010-40019", "tcp_tw_reuse": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			e2e.Skip(t, "the test narrows the range of ports in its own network namespace: "+err.Error())
		}
	}
	_, database := startHelper(t, helper("server", "database", "127.0.0.1:5432", "keep"))
	_, visited := startHelper(t, helper("server", "web", "127.0.0.1:40050", "polite")) // within the range: for nobody else
	expect := func(name, want string, wanted int) {
		t.Helper()
		output, code := runBy(t, nobody, plugin, "--conn-type", "udp", "--no-details", "-w", "ephemeral=80", "-c", "ephemeral=95")
		if output != want+"\n" || code != wanted {
			t.Errorf("%s: got %d %swant %s", name, code, output, want)
		}
	}
	expect("unused", "[OK] - ephemeral ports: 1% of 90 for any peer|ephemeral_ports=1.1%;80;95;0;100", 0)

	startHelper(t, helper("client", "leak", database, "71", "keep"))
	expect("80 percent", "[OK] - ephemeral ports: 80% of 90 to 127.0.0.1:5432|ephemeral_ports=80%;80;95;0;100", 0)

	// Fewer to another peer do not matter: their ports can be the same.
	startHelper(t, helper("client", "browser", visited, "10", "keep"))
	startHelper(t, helper("client", "leak", database, "3", "keep"))
	expect("83 percent", "[WARNING] - ephemeral ports: 83% of 90 to 127.0.0.1:5432 [WARNING]|ephemeral_ports=83.3%;80;95;0;100", 1)

	// Neither do those from another local address, nor what is selected.
	for range 10 {
		dialer := stdnet.Dialer{
			LocalAddr: &stdnet.TCPAddr{IP: stdnet.IPv4(127, 0, 0, 2)},
			Control: func(_, _ string, raw syscall.RawConn) (err error) { // a port for this peer only
				fault := raw.Control(func(fd uintptr) {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
				})
				return errors.Join(fault, err)
			},
		}
		connection, err := dialer.Dial("tcp", database)
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
	}
	for _, selected := range []string{"--local-port=1", "--process=-", "--user=4711", "--remote-address=!127.0.0.1", "--min-idle=1h --conn-type=tcp", "--by=status", "--source=netlink --by=netns"} {
		output, _ := runBy(t, nobody, plugin, append(strings.Fields(selected), "--no-details", "-w", "ephemeral=80")...)
		if !strings.Contains(output, "ephemeral ports: 83% of 90 to 127.0.0.1:5432 [WARNING]|") && !strings.Contains(output, "ephemeral ports: 83% of 90 to 127.0.0.1:5432 in ") {
			t.Errorf("%s: got %s", selected, output)
		}
	}

	// A connection that only the peer has closed keeps its port too.
	_, closing := startHelper(t, helper("server", "closing", "127.0.0.1:5433", "close"))
	startHelper(t, helper("client", "leak", closing, "78", "keep"))
	waitForRows(t, map[e2e.Group]int{{Type: "tcp", Status: "CLOSE_WAIT"}: 78})
	expect("87 percent", "[WARNING] - ephemeral ports: 87% of 90 to 127.0.0.1:5433 [WARNING]|ephemeral_ports=87.8%;80;95;0;100", 1)
}
