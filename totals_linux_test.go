package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// totalsTree is a host with so many full sockets of each family.
func totalsTree(t *testing.T, four, six int, fastOpen string) procfs {
	t.Helper()
	return procTree(t, map[string]string{
		"thread-self/net/sockstat":  fmt.Sprintf("sockets: used 9000\nTCP: inuse %d orphan 1 tw 2 alloc 9000 mem 3\nUDP: inuse 4 mem 1\n", four),
		"thread-self/net/sockstat6": fmt.Sprintf("TCP6: inuse %d\nUDP6: inuse 3\n", six),
		"sys/net/ipv4/tcp_fastopen": fastOpen + "\n",
	})
}

// readTCP counts both types of TCP by type and status on a recorded host, and
// says which sources failed.
func readTCP(t *testing.T, root procfs, asked []*tally, want []manner, kernels ...kernel) (found map[string]int, result reading) {
	t.Helper()
	diag := askingKernels(t, "tcp", asked[0], kernels...)
	diag.types, diag.tallies, diag.fields = []string{"tcp", "tcp6"}, asked, fieldsOf(asked)
	diag.host.procfs, diag.host.spaces = root, []namespace{{}}
	d := dump{name: "tcp"}
	for _, how := range want {
		d.sources = append(d.sources, diag.source(how))
	}
	result, err := count([]dump{d}, asked...)
	if err != nil {
		t.Fatal(err)
	}
	found = map[string]int{}
	for _, r := range result.counts[0].rows {
		found[strings.ReplaceAll(r.key, keySeparator, " ")] = r.known
	}
	return found, result
}

// twelve are sockets of which six are full ones over IPv4 and two over IPv6.
func twelve(more ...inetDiagMsg) []inetDiagMsg {
	const four, six = unix.AF_INET, unix.AF_INET6
	return append([]inetDiagMsg{
		{Family: four, State: 10, Inode: 1},                // listens
		{Family: four, State: 1, Inode: 2},                 // established
		{Family: four, State: 1, Inode: 0},                 // nobody has accepted it
		{Family: four, State: 8, Inode: 3},                 // half closed
		{Family: four, State: 5, Inode: 4},                 // held in FIN_WAIT2
		{Family: four, State: 4, Inode: 0},                 // an orphan
		{Family: four, State: 5, Timer: 3},                 // what is left of one
		{Family: four, State: 6, Timer: 3},                 // in TIME_WAIT
		{Family: four, State: 3, Timer: 1, Retransmits: 1}, // half open
		{Family: six, State: 10, Inode: 5},
		{Family: six, State: 1, Inode: 6},
		{Family: six, State: 6, Timer: 3},
	}, more...)
}

func TestTotalsServeOnlyWhereTheyTellTheNumber(t *testing.T) {
	const refusal = "the kernel's totals do not tell how many are established"
	fast := inetDiagMsg{Family: unix.AF_INET, State: 3, Inode: 9}
	for _, test := range []struct {
		name         string
		root         procfs
		sockets      []inetDiagMsg
		four, six    int // ESTABLISHED
		source, fail string
	}{
		{"many sockets", totalsTree(t, 1006, 202, "1"), twelve(), 1002, 201, sourceTotals, ""},
		{"one family has none", totalsTree(t, 1006, 1, "1"), twelve(), 1002, 0, sourceTotals, ""},
		{"fast open, but no server", totalsTree(t, 1006, 202, "1"), twelve(), 1002, 201, sourceTotals, ""},
		{"fast open, but nothing half open", totalsTree(t, 1006, 202, "3"), slices.Delete(twelve(), 8, 9), 1002, 201, sourceTotals, ""},
		{"too few for the effort", totalsTree(t, 6, 2, "1"), twelve(), 2, 1, sourceNetlink, ""},
		{"a half-open one may be a full one", totalsTree(t, 1006, 202, "3"), twelve(fast), 2, 1, sourceNetlink, refusal},
		{"whether one may be is not known", totalsTree(t, 1006, 202, "x"), twelve(), 2, 1, sourceNetlink, refusal},
		{"more are listed than there are", totalsTree(t, 3, 202, "1"), twelve(), 2, 1, sourceNetlink, refusal},
		{"not told", procTree(t, nil), twelve(), 2, 1, sourceNetlink, "no such file or directory"},
		{"told without what is in use", procTree(t, map[string]string{"thread-self/net/sockstat": "TCP: orphan 0\n"}), twelve(), 2, 1, sourceNetlink, "has no inuse in its line TCP:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			byBoth := (&question{}).tally(grouping{byType, byStatus})
			found, result := readTCP(t, test.root, []*tally{byBoth}, manners, lists(test.sockets...))
			if found["tcp ESTABLISHED"] != test.four || found["tcp6 ESTABLISHED"] != test.six || found["tcp CLOSE_WAIT"] != 1 || found["tcp FIN_WAIT2"] != 2 {
				t.Errorf("got %v", found)
			}
			if !slices.Equal(result.sources, []string{test.source}) {
				t.Errorf("read from %q", result.sources)
			}
			if isSaid := len(result.failures) > 0; isSaid != (test.fail != "") || isSaid && !strings.HasSuffix(result.failures[0].err.Error(), test.fail) {
				t.Errorf("failed: %v", result.failures)
			}
		})
	}
}

// What some tallies need in a list is listed besides, and counted only there.
func TestTotalsServeOneTallyWhileAnotherOneIsListed(t *testing.T) {
	byBoth := (&question{}).tally(grouping{byType, byStatus})
	byPort := (&question{statuses: []string{"ESTABLISHED"}}).tally(grouping{byLocalPort})
	byPort.bounds = func(uint64) []bound { return []bound{{ports: []portRange{{40000, 40999}}}} }
	root := totalsTree(t, 20006, 2, "1")
	sockets := twelve(inetDiagMsg{Family: unix.AF_INET, State: 1, Inode: 7, LocalPort: 40001, RemotePort: 80})
	var programs []int
	found, result := readTCP(t, root, []*tally{byBoth, byPort}, manners, func(request netlinkMessage) [][]byte {
		programs = append(programs, len(request.body)-sizeofInetDiagReq)
		return lists(sockets...)(request)
	})
	if found["tcp ESTABLISHED"] != 20002 || found["tcp6 ESTABLISHED"] != 1 || found["tcp CLOSE_WAIT"] != 1 {
		t.Errorf("by type and status: got %v", found)
	}
	listed := map[string]int{}
	for _, r := range result.counts[1].rows {
		listed[r.key] = r.known
	}
	if want := map[string]int{"0": 3, "40001": 1}; !maps.Equal(listed, want) {
		t.Errorf("by port: got %v, want %v", listed, want)
	}
	// The established ones are asked for with a program of two comparisons, the
	// others without.
	if want := []int{0, 4 + 16}; !slices.Equal(programs, want) {
		t.Errorf("bytes of programs: got %v, want %v", programs, want)
	}
}

func TestUDPIsNotListedWhereThereIsNone(t *testing.T) {
	sockstat := func(four, six int) map[string]string {
		return map[string]string{
			"thread-self/net/sockstat":  fmt.Sprintf("sockets: used 9\nTCP: inuse 1 orphan 0 tw 0 alloc 9 mem 3\nUDP: inuse %d mem 1\nUDPLITE: inuse 7\n", four),
			"thread-self/net/sockstat6": fmt.Sprintf("TCP6: inuse 1\nUDP6: inuse %d\nUDPLITE6: inuse 7\n", six),
		}
	}
	const four, six = unix.AF_INET, unix.AF_INET6
	for _, test := range []struct {
		name, source string
		files        map[string]string
		asked        []byte // families
	}{
		{"none", sourceNetlink, sockstat(0, 0), nil},
		{"IPv4 only", sourceAuto, sockstat(1, 0), []byte{four}},
		{"IPv6 only", sourceAuto, sockstat(0, 1), []byte{six}},
		{"both", sourceAuto, sockstat(2, 1), []byte{four, six}},
		{"all are to be listed", sourceList, sockstat(0, 0), []byte{four, six}},
		{"not told", sourceAuto, nil, []byte{four, six}},
	} {
		var asked []byte
		each := func(request netlinkMessage) [][]byte {
			asked = append(asked, request.body[0])
			return sends(nil)(request)
		}
		byBoth := (&question{}).tally(grouping{byType, byStatus})
		diag := askingKernels(t, "udp", byBoth, each, each)
		diag.types, diag.host.procfs, diag.host.source = []string{"udp", "udp6"}, procTree(t, test.files), test.source
		countedBy(t, diag, byBoth)
		if !slices.Equal(asked, test.asked) {
			t.Errorf("%s: asked for families %v, want %v", test.name, asked, test.asked)
		}
	}
}

func TestKernelIsAskedWithoutWhatItRefuses(t *testing.T) {
	asked := (&question{}).tally(grouping{byType, byStatus})
	asked.fields |= fieldLocalPort
	asked.bounds = func(uint64) []bound { return []bound{{ports: []portRange{{0, 65535}}}} }
	want := map[string]int{
		"tcp LISTEN": 1, "tcp ESTABLISHED": 2, "tcp CLOSE_WAIT": 1, "tcp FIN_WAIT2": 2, "tcp FIN_WAIT1": 1, "tcp TIME_WAIT": 1, "tcp SYN_RECV": 1,
		"tcp6 LISTEN": 1, "tcp6 ESTABLISHED": 1, "tcp6 TIME_WAIT": 1,
	}
	whole := lists(twelve()...)
	for name, test := range map[string]struct {
		refused func(netlinkMessage) bool
		asked   []uint16 // the kinds of messages
	}{
		"nothing":       {func(netlinkMessage) bool { return false }, []uint16{tcpDiagGetSock}},
		"programs":      {func(r netlinkMessage) bool { return len(r.body) > sizeofInetDiagReq }, []uint16{tcpDiagGetSock, tcpDiagGetSock}},
		"the older way": {func(r netlinkMessage) bool { return r.kind == tcpDiagGetSock }, []uint16{tcpDiagGetSock, tcpDiagGetSock, unix.SOCK_DIAG_BY_FAMILY, unix.SOCK_DIAG_BY_FAMILY}},
	} {
		t.Run(name, func(t *testing.T) {
			var kinds []uint16
			found, result := readTCP(t, procTree(t, nil), []*tally{asked}, manners, func(request netlinkMessage) [][]byte {
				kinds = append(kinds, request.kind)
				if test.refused(request) {
					return refuses(unix.EINVAL)(request)
				}
				return whole(request)
			})
			if !maps.Equal(found, want) || !slices.Equal(kinds, test.asked) || !slices.Equal(result.sources, []string{sourceNetlink}) {
				t.Errorf("got %v after %v from %v", found, kinds, result.sources)
			}
		})
	}
}
