package main

import (
	"fmt"
	"maps"
	stdnet "net"
	"strings"
	"testing"

	"github.com/NETWAYS/go-check"
	"golang.org/x/sys/unix"

	"check_network_connections/contrib/e2e"
)

// countedFrom returns how many sockets this host has by key, from one source.
func countedFrom(t *testing.T, from string, by grouping) map[string]int {
	t.Helper()
	config, err := parseArguments([]string{"--source", from, "--by", by.names(",")})
	if err != nil {
		t.Fatal(err)
	}
	live, err := openHost(config)
	if err != nil {
		t.Fatal(err)
	}
	asked := config.question.tally(by)
	found, err := count(live.dumps(t.Context(), []*tally{asked}), asked)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]int{}
	for _, r := range found.counts[0].rows {
		known[strings.ReplaceAll(r.key, keySeparator, " ")] = r.known
	}
	return known
}

// outputFrom returns the state and the output of the check from one source.
func outputFrom(t *testing.T, from string, arguments ...string) (state check.Status, output string) {
	t.Helper()
	config, err := parseArguments(append(arguments, "--source", from))
	if err != nil {
		t.Fatal(err)
	}
	state, output, err = runCheck(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return state, output
}

func TestProcAndNetlinkTellTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("real sockets take a while")
	}
	if !e2e.OwnNetwork(t) {
		return
	}
	made := e2e.EveryStatus(t)
	// Nobody accepts these: they are the listener's.
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listening, err := stdnet.Listen("tcp", address)
		if err != nil {
			t.Logf("without %s: %v", address, err)
			continue
		}
		defer listening.Close()
		connection, err := stdnet.Dial("tcp", listening.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
	}
	for _, by := range []grouping{
		{byType, byStatus},
		{byType, byStatus, byProcess, byUser},
		{byType, byStatus, byLocalAddress, byLocalPort, byRemoteAddress, byRemotePort},
		{byType, byStatus, byProcess, byUser, byLocalAddress, byLocalPort, byRemoteAddress, byRemotePort, byNetns, byDirection},
	} {
		netlink, proc := countedFrom(t, sourceList, by), countedFrom(t, sourceProc, by)
		if len(netlink) < len(made) || !maps.Equal(netlink, proc) {
			t.Errorf("by %s:\nnetlink %v\nproc    %v", by.names(","), netlink, proc)
		}
	}
	found := countedFrom(t, sourceProc, grouping{byType, byStatus})
	for opened, number := range made {
		if got := found[opened.Type+" "+opened.Status]; opened.Status != "LISTEN" && opened.Status != "ESTABLISHED" && got != number {
			t.Errorf("%v: got %d, want %d", opened, got, number)
		}
	}
	for who := range countedFrom(t, sourceProc, grouping{byProcess}) {
		if who == hidden {
			t.Error("an owner is not found")
		}
	}
}

func TestFinWait2IsListedByItself(t *testing.T) {
	if testing.Short() {
		t.Skip("real sockets take a while")
	}
	if !e2e.OwnNetwork(t) {
		return
	}
	made := e2e.EveryStatus(t)
	_, output := outputFrom(t, sourceNetlink, "--conn-status", "fin_wait2", "--no-perfdata")
	want := fmt.Sprintf("tcp6 FIN WAIT2: %d, tcp FIN WAIT2: %d\n", made[e2e.Group{Type: "tcp6", Status: "FIN_WAIT2"}], made[e2e.Group{Type: "tcp", Status: "FIN_WAIT2"}])
	if output != "[OK] - "+want {
		t.Errorf("got %s", output)
	}
	asking := question{statuses: []string{"FIN_WAIT2"}}
	if states := statesFor("tcp", []*tally{asking.tally(nil)}); states != finWait2State|timeWaitState {
		t.Errorf("without TIME_WAIT old kernels leave out those of no process: %b is asked for", states)
	}
}

func TestSocketsThatLookAlikeCountFromEverySource(t *testing.T) {
	if testing.Short() {
		t.Skip("real sockets take a while")
	}
	if !e2e.OwnNetwork(t) {
		return
	}
	for range 3 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 5353}); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{sourceAuto, sourceNetlink, sourceProc} {
		if state, output := outputFrom(t, from, "-w", "udp=2", "--no-perfdata", "--no-details"); state != check.Warning || output != "[WARNING] - udp NONE: 3 [WARNING]\n" {
			t.Errorf("%s: got %s", from, output)
		}
	}
	const lacks = "gopsutil is for comparing: it leaves out sockets that look alike (SO_REUSEPORT listeners, UDP sockets bound alike)\n"
	if state, output := outputFrom(t, sourceGopsutil, "-w", "udp=2", "--no-perfdata"); state != check.OK || output != "[OK] - udp NONE: 1\n"+lacks {
		t.Errorf("gopsutil: got %s", output)
	}
}
