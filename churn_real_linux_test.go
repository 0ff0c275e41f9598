package main

import (
	"fmt"
	"math"
	stdnet "net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

// opened returns how many connections were begun in this network namespace.
func opened(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "Tcp:") {
			rows = append(rows, strings.Fields(line))
		}
	}
	number, err := strconv.Atoi(rows[1][slices.Index(rows[0], "ActiveOpens")])
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func init() { helpers["replace"] = replace }

// replace takes an address and a number, opens as many connections, and then
// replaces one after the other, until it is killed.
func replace() {
	number, err := strconv.Atoi(os.Args[2])
	must(err)
	connect := func() *stdnet.TCPConn {
		connection, err := stdnet.Dial("tcp4", os.Args[1])
		must(err)
		return connection.(*stdnet.TCPConn)
	}
	var all []*stdnet.TCPConn
	for range number {
		all = append(all, connect())
	}
	fmt.Println("ready")
	for i := 0; ; i = (i + 1) % number {
		_ = all[i].SetLinger(0) // no TIME_WAIT, the ports would run out
		_ = all[i].Close()
		all[i] = connect()
	}
}

// spread is what readings of one number came to.
type spread []int

func (s spread) String() string {
	mean, square := 0.0, 0.0
	for _, number := range s {
		mean += float64(number) / float64(len(s))
	}
	for _, number := range s {
		square += math.Pow(float64(number)-mean, 2) / float64(len(s))
	}
	return fmt.Sprintf("%d to %d in %d runs, standard deviation %.1f", slices.Min(s), slices.Max(s), len(s), math.Sqrt(square))
}

// passing returns how many sockets were listed that come and go. The totals may
// have been read without them, so as many connections may seem to be missing.
func passing(found map[e2e.Group]int) (number int) {
	for each, several := range found {
		if each.Status != "LISTEN" && each.Status != "ESTABLISHED" {
			number += several
		}
	}
	return number
}

// TestCountsUnderChurnArePossible logs how far the numbers of both ways to ask
// the kernel are apart: those of the totals were true at some moment, in a list
// a connection that is replaced meanwhile is there twice or not at all.
func TestCountsUnderChurnArePossible(t *testing.T) {
	if inOwnNetwork(t) == "" {
		return
	}
	connections := often(300, 5000)
	listening, err := stdnet.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listening.Close() })
	go acceptAll(listening)
	startHelper(t, helper("replace", listening.Addr().String(), fmt.Sprint(connections)))

	spreads := map[string]spread{}
	hasChanged := false
	for i := 0; i < often(50, 500) || !hasChanged; i++ {
		for _, from := range []string{sourceNetlink, sourceList} {
			earlier := opened(t)
			output, code := reply("--source", from, "--conn-type", "tcp,tcp6", "--verbose")
			more := opened(t) - earlier
			found := rowsIn(t, output)
			listen, established := found[e2e.Group{Type: "tcp", Status: "LISTEN"}], found[e2e.Group{Type: "tcp", Status: "ESTABLISHED"}]
			// Both ends of one connection are missing at a time. Those that are
			// replaced meanwhile may be in a list twice or not at all.
			least, most := 2*(connections-1), 2*connections
			if from == sourceList {
				least, most = least-2*more, most+2*more
			}
			least -= passing(found)
			if code != 0 || listen != 1 || established < least || established > most {
				t.Fatalf("%s: %d to %d are possible: got %d %s", from, least, most, code, output)
			}
			if isFromTotals := strings.Contains(output, sourceTotals); isFromTotals != (from == sourceNetlink) {
				t.Fatalf("%s: got %s", from, output)
			}
			hasChanged = hasChanged || more > 0
			spreads[from] = append(spreads[from], established)
		}
	}
	t.Logf("%d connections, one at a time is replaced", connections)
	t.Logf("totals: %s", spreads[sourceNetlink])
	t.Logf("lists: %s", spreads[sourceList])
}

// Connections, processes and network namespaces come and go all the time: every
// call has an answer, and none is out of what is possible.
func TestEveryCallHasAnAnswerUnderChurn(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	const fixed, turnover = 150, 64
	_, address := startHelper(t, helper("server", "keeper", "127.0.0.1:0", "keep"))
	startHelper(t, helper("client", "holder", address, fmt.Sprint(fixed), "keep"))
	_, busy := startHelper(t, helper("server", "busy", "127.0.0.1:0", "polite"))
	startHelper(t, helper("churn", busy, fmt.Sprint(turnover)))
	if e2e.IsLong() { // which makes the whole host busy
		startHelper(t, helper("births"))
	}
	stays := fmt.Sprint("stays", os.Getpid()) // others may run this test too
	space := newSpace(t, stays, 2)
	for _, call := range []struct {
		arguments, label string
		least, most      int
	}{
		{"", "tcp_ESTABLISHED", 2 * fixed, 1 << 20},
		{"--local-port " + portOf(address), "tcp_ESTABLISHED", fixed, fixed},
		{"--by process,status --process holder,keeper", "holder_ESTABLISHED", fixed, fixed},
		{"--by unit,status", "", 0, 0},
		{"-w limits=100,ephemeral=100", "ephemeral_ports", 0, 100},
		{"--min-idle 1ms --local-port " + portOf(address), "tcp_ESTABLISHED", fixed, fixed},
		{"--netns all --by netns,process --process " + stays, stays + "_" + stays, 5, 5},
		{"--netns " + strconv.Itoa(space.Pid), "tcp_ESTABLISHED", 4, 4},
	} {
		t.Run(call.arguments, func(t *testing.T) {
			if strings.Contains(call.arguments, "--netns all") && !e2e.IsLong() {
				t.Skip("other network namespaces of this host are read too, CHECK_LONG=1 runs it")
			}
			for range often(10, 500) {
				output, code := runBy(t, 0, plugin, append(strings.Fields(call.arguments), "--no-details", "--timeout", "240")...)
				number := -1.0
				for value := range strings.FieldsSeq(valuesOf(output)) {
					if typed, isIt := strings.CutPrefix(value, call.label+"="); isIt && call.label != "" {
						number, _ = strconv.ParseFloat(strings.TrimSuffix(typed, "%"), 64)
					}
				}
				least := call.least
				if call.arguments == "" { // ESTABLISHED is from the totals
					least -= passing(rowsIn(t, output))
				}
				// A group of which something may be hidden has no performance data.
				isPossible := number >= float64(least) && number <= float64(call.most) || call.label == "" || strings.Contains(output, " to ")
				if code != 0 || !isPossible {
					t.Fatalf("got %d %s", code, output)
				}
			}
		})
	}
}
