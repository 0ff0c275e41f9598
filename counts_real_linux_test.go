package main

import (
	"fmt"
	stdnet "net"
	"os"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

// rowsIn returns the numbers of a first line by type and status.
func rowsIn(t *testing.T, output string) map[e2e.Group]int {
	t.Helper()
	_, perfdata, _ := strings.Cut(strings.SplitN(output, "\n", 2)[0], "|")
	found := map[e2e.Group]int{}
	for value := range strings.FieldsSeq(perfdata) {
		var number int
		label, rest, _ := strings.Cut(value, "=")
		if _, err := fmt.Sscanf(rest, "%d;", &number); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		proto, status, _ := strings.Cut(label, "_")
		found[e2e.Group{Type: proto, Status: status}] = number
	}
	return found
}

func TestEverySocketOfTheKernelIsCountedOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("real sockets take a while")
	}
	const isRoot = "CHECK_NETWORK_CONNECTIONS_TEST_IS_ROOT"
	if os.Geteuid() == 0 {
		t.Setenv(isRoot, "1") // in a user namespace everybody seems to be
	}
	plugin := e2e.Plugin(t)
	if !e2e.OwnNetwork(t) {
		return
	}
	all := e2e.EveryStatus(t)
	alike := map[e2e.Group]int{ // what gopsutil shows in place of sockets that look alike
		{Type: "tcp", Status: "LISTEN"}: 3, {Type: "tcp6", Status: "LISTEN"}: 6,
		{Type: "udp", Status: "NONE"}: 3, {Type: "udp6", Status: "NONE"}: 6,
	}
	for _, user := range []uint32{0, nobody} {
		for _, from := range sources {
			t.Run(fmt.Sprintf("user %d, %s", user, from), func(t *testing.T) {
				if user != 0 && os.Getenv(isRoot) == "" {
					e2e.Skip(t, "run the test as root to see what another user sees")
				}
				output, code := runBy(t, user, plugin, "--source", from)
				found := rowsIn(t, output)
				if code != 0 || len(found) != len(all) {
					t.Errorf("got %d %s", code, output)
				}
				for wanted, want := range all {
					if fewer, isAlike := alike[wanted]; isAlike && from == sourceGopsutil {
						want = fewer
					}
					if found[wanted] != want {
						t.Errorf("%v: got %d, want %d", wanted, found[wanted], want)
					}
				}
			})
		}
	}
	t.Run("one status at a time", func(t *testing.T) {
		for wanted, want := range all {
			output, _ := runBy(t, 0, plugin, "--conn-type", wanted.Type, "--conn-status", wanted.Status)
			if found := rowsIn(t, output); len(found) != 1 || found[wanted] != want {
				t.Errorf("%v: got %v, want %d", wanted, found, want)
			}
		}
	})
	t.Run("as ss", func(t *testing.T) {
		e2e.Need(t, "iproute2", "ss")
		var fewer []string // newer versions list sockets that only have a port, too
		if strings.Contains(e2e.Run(t, "ss", "--help"), "bound-inactive") {
			fewer = []string{"exclude", "bound-inactive"}
		}
		for proto, flags := range map[string]string{"tcp": "-4tanH", "tcp6": "-6tanH", "udp": "-4uanH", "udp6": "-6uanH"} {
			want := strings.Count(e2e.Run(t, "ss", append([]string{flags}, fewer...)...), "\n")
			output, _ := runBy(t, 0, plugin, "--conn-type", proto)
			got := 0
			for _, number := range rowsIn(t, output) {
				got += number
			}
			if got != want {
				t.Errorf("%s: got %d, ss shows %d", proto, got, want)
			}
		}
	})
}

// The connections are idle for as long as the test says by its own clock.
func TestIdleConnectionsAreToldFromBusyOnes(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	_, address := startHelper(t, helper("server", "server", "127.0.0.1:0", "polite"))
	_, other := startHelper(t, helper("server", "forgetful", "127.0.0.1:0", "keep"))
	startHelper(t, helper("client", "idle", address, "4", "keep"))
	startHelper(t, helper("client", "leak", other, "2", "close"))
	var busy []stdnet.Conn
	for range 3 {
		connection, err := stdnet.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		busy = append(busy, connection)
	}
	waitForRows(t, map[e2e.Group]int{{Type: "tcp", Status: "CLOSE_WAIT"}: 2, {Type: "tcp", Status: "ESTABLISHED"}: 14})
	for wait := time.Second; ; wait *= 2 {
		time.Sleep(wait)
		written := time.Now()
		for _, connection := range busy {
			if _, err := connection.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		idle, code := runBy(t, 0, plugin, "--min-idle", wait.String())
		held, _ := runBy(t, 0, plugin, "--min-idle", wait.String(), "--conn-status", "close_wait", "--by", "process")
		if time.Since(written) > wait {
			continue // the machine has been too slow to tell
		}
		if text := textOf(idle); text != "tcp ESTABLISHED: 8, tcp CLOSE WAIT: 2" || code != 0 {
			t.Errorf("idle for %s: got %d %s", wait, code, idle)
		}
		if text := textOf(held); text != "forgetful: 2" {
			t.Errorf("by process: got %s", held)
		}
		break
	}
	output, code := runBy(t, 0, plugin, "--min-idle", "1000h")
	if text := textOf(output); text != `No connections of type "all" in status "all" with --min-idle 1000h found.` || code != 0 {
		t.Errorf("got %d %s", code, output)
	}
}

func TestVerboseNamesTheSource(t *testing.T) {
	output, code := run(t, "--verbose", "--conn-type", "udp")
	lines := strings.Split(output, "\n")
	if code != 0 || len(lines) != 3 || !strings.HasSuffix(lines[1], " ms") || !strings.Contains(lines[1], " sockets counted, read from netlink in ") {
		t.Errorf("got %d %s", code, output)
	}
}
