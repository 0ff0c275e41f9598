package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/shirou/gopsutil/v3/net"
)

func TestFaultsOfOtherSystemsSayWhatToDo(t *testing.T) {
	lsof := fmt.Errorf("run: %w", exec.ErrNotFound)
	for _, test := range []struct {
		name        string
		err         error
		connections int
		system      string
		isRoot      bool
		message     string
	}{
		{"all is well", nil, 3, "darwin", true, ""},
		{"nothing on Windows", nil, 0, "windows", false, ""},
		{"lsof without root", nil, 3, "darwin", false, "without root lsof lists your own sockets only: run the check as root, with sudo for instance"},
		{"lsof is missing", lsof, 0, "freebsd", false, "lsof, which lists the sockets on this system, is missing: install it (FreeBSD: pkg install lsof)"},
		{"lsof finds nothing", nil, 0, "darwin", true, "lsof lists no sockets at all, which cannot be true: run lsof -i to see why"},
		{"gopsutil has nothing", errors.New("not implemented yet"), 0, "solaris", true, "not supported on solaris"},
		{"another error", errors.New("no luck"), 0, "windows", false, "no luck"},
	} {
		message := ""
		if err := gopsutilFault(test.err, test.connections, test.system, test.isRoot); err != nil {
			message = err.Error()
		}
		if message != test.message {
			t.Errorf("%s: got  %s\nwant %s", test.name, message, test.message)
		}
	}
}

func TestWhatGopsutilLacksIsSaidForEachSystem(t *testing.T) {
	for system, want := range map[string]string{"linux": "SO_REUSEPORT", "openbsd": "SO_REUSEPORT", "windows": "an empty one", "darwin": "each process that shares it", "freebsd": "10000"} {
		if got := gopsutilLacks(system); !strings.Contains(got, want) {
			t.Errorf("%s: got %s", system, got)
		}
	}
}

func TestOnlyTheSocketsThatAreAskedForAreListed(t *testing.T) {
	if usesLsof(thisSystem) {
		t.Skip("lsof lists them all")
	}
	for arguments, want := range map[string]string{
		"":                                   "inet",
		"--conn-type tcp":                    "tcp4",
		"--conn-type udp6":                   "udp6",
		"--conn-type tcp,tcp6":               "inet",
		"--conn-status none":                 "inet",
		"--conn-status none --conn-type udp": "udp4",
	} {
		config := configOf(t, strings.Fields(arguments)...)
		if got := kindOf([]*tally{config.question.tally(config.levels.by)}); got != want {
			t.Errorf("%s: got %s", arguments, got)
		}
	}
	tcp, udp := configOf(t, "--conn-type", "tcp").question, configOf(t, "--conn-type", "udp").question
	if got := kindOf([]*tally{tcp.tally(nil), udp.tally(nil)}); got != "inet" {
		t.Errorf("two tallies: got %s", got)
	}
}

// listed returns a reader of records as gopsutil gives them.
func listed(asked fields, records ...net.ConnectionStat) *gopsutilReader {
	return &gopsutilReader{
		asked:   asked,
		list:    func() ([]net.ConnectionStat, error) { return records, nil },
		resolve: func(s *socket) { s.process, s.user = fmt.Sprintf("process %d", s.Pid), "someone" },
	}
}

func TestRecordsBecomeSockets(t *testing.T) {
	record := func(family, number uint32, local, remote, status string, pid int32) net.ConnectionStat {
		s := socketOf("tcp LISTEN - - " + local + " " + remote)
		return net.ConnectionStat{Family: family, Type: number, Laddr: s.Laddr, Raddr: s.Raddr, Status: status, Pid: pid}
	}
	records := []net.ConnectionStat{
		record(2, 1, "10.0.0.1:80", "10.0.0.9:50000", "ESTABLISHED", 7),
		record(2, 1, "0.0.0.0:80", "0.0.0.0:0", "LISTEN", 7), // behind what it has accepted
		record(30, 1, "[::ffff:10.0.0.1]:40000", "[fd00:0::5]:443", "CLOSED", 8),
		record(2, 2, "[*]:53", "-", "", 9),
		record(2, 1, "10.0.0.1:80", "10.0.0.9:50001", "TIME_WAIT", 0),
		record(2, 1, "10.0.0.1:80", "10.0.0.9:50002", "SYN_RCVD", 0),
		record(10, 2, "[fe80::1%eth0]:546", "[::]:0", "NONE", 0),
		record(2, 1, "10.0.0.1:1", "10.0.0.9:2", "NEW_STATE", 0),
		record(2, 1, "10.0.0.1:1", "10.0.0.9:3", "", 7),
		record(1, 1, "10.0.0.1:1", "-", "LISTEN", 7), // a Unix socket
	}
	for _, test := range []struct {
		asked  fields
		wanted []string
		want   []string
	}{
		{fieldProcess, socketTypes, []string{
			"tcp LISTEN process 7 someone 0.0.0.0 80 - - pod  listen", "tcp ESTABLISHED process 7 someone 10.0.0.1 80 10.0.0.9 50000 pod  in",
			"tcp6 CLOSE process 8 someone 10.0.0.1 40000 fd00::5 443 pod  out", "udp NONE process 9 someone * 53 - - pod  -",
			"tcp TIME_WAIT - - 10.0.0.1 80 10.0.0.9 50001 pod  in", "tcp SYN_RECV process 7 someone 10.0.0.1 80 10.0.0.9 50002 pod  in", // the listener's
			"udp6 NONE process 0 someone fe80::1 546 - - pod  -", "tcp NEW_STATE process 0 someone 10.0.0.1 1 10.0.0.9 2 pod  out",
			"tcp NONE process 7 someone 10.0.0.1 1 10.0.0.9 3 pod  out",
		}},
		{0, []string{"tcp6"}, []string{"tcp6 CLOSE   10.0.0.1 40000 fd00::5 443 pod  out"}},
		{0, []string{"udp"}, []string{"udp NONE   * 53 - - pod  -"}},
	} {
		var got []string
		all := &tally{includes: (&question{}).includes, asks: func(*socket) answer { return yes }, key: func(to []byte, s *socket) []byte {
			got = append(got, strings.ReplaceAll(string(grouping(dimensions).key(nil, s)), keySeparator, " "))
			return to
		}}
		if err := listed(test.asked, records...).reading(test.wanted, "pod")(newCounter([]*tally{all})); err != nil || strings.Join(got, "\n") != strings.Join(test.want, "\n") {
			t.Errorf("%q: got  %q, %v\nwant %q", test.wanted, got, err, test.want)
		}
	}
}

func TestStoppedReadingIsNotTakenForWhole(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads the sockets of this host, however many there are")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tallied := newCounter([]*tally{(&question{}).tally(nil)})
	from := newGopsutilReader(ctx, debugLog{}, []*tally{tallied[0].tally}, nil)
	if err := from.reading([]string{"tcp"}, "")(tallied); !errors.Is(err, context.Canceled) || len(tallied[0].rows) > 0 {
		t.Errorf("got %v, %v", tallied[0].rows, err)
	}
}
