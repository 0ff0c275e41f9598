package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestCulpritsOfTheWorstGroups(t *testing.T) {
	for _, test := range []struct {
		name, arguments string
		lines           []string
	}{
		{"nothing in violation", "-w 100", nil},
		{
			"peers that came to us without their ports", "-w close_wait=5",
			[]string{"tcp CLOSE WAIT held by: ?[4711] (1000) 8", "tcp CLOSE WAIT peers: 10.0.0.9:* 8"},
		},
		{
			"critical groups first, then the larger ones", "-w tcp=1 -c tcp6=1",
			[]string{
				"tcp6 ESTABLISHED held by: ?[812] (33) 5", "tcp6 ESTABLISHED peers: [fd00::1]:443 3, 10.0.0.9:* 2",
				"tcp CLOSE WAIT held by: ?[4711] (1000) 8", "tcp CLOSE WAIT peers: 10.0.0.9:* 8",
				"tcp ESTABLISHED held by: ?[4711] (1000) 5", "tcp ESTABLISHED peers: 10.0.0.5:5432 5",
			},
		},
		{"no peers", "-c tcp_listen=0", []string{"tcp LISTEN held by: ?[4711] (1000) 1"}},
		{"nobody known", "-c time_wait=0", []string{"tcp TIME WAIT peers: 10.0.0.5:5432 4"}},
		{"no sockets", "-c tcp_closing=1:", nil},
		{
			"groups without sockets take no place", "-c tcp_closing=1:,tcp_close=1:,tcp_last_ack=1: -w tcp_listen=0",
			[]string{"tcp LISTEN held by: ?[4711] (1000) 1"},
		},
		{
			"the total", "-c total=0",
			[]string{
				"total held by: ?[4711] (1000) 14, ?[812] (33) 6, ?[77] (101) 2",
				"total peers: 10.0.0.9:* 10, 10.0.0.5:5432 9, [fd00::1]:443 3, 10.0.0.53:53 1",
			},
		},
		{
			"within the filters", "-c tcp6_established=0 --remote-port 443",
			[]string{"tcp6 ESTABLISHED held by: ?[812] (33) 3", "tcp6 ESTABLISHED peers: [fd00::1]:443 3"},
		},
		{
			"of groups by another dimension", "--by remote-address -c 10.0.0.5=8",
			[]string{"10.0.0.5 held by: ?[4711] (1000) 5", "10.0.0.5 peers: 10.0.0.5:5432 9"},
		},
		{"not wanted", "-w close_wait=5 --no-details", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, _ := reply(append(strings.Fields(test.arguments), "--test", "testdata/leaking-server.json")...)
			lines := strings.Split(strings.TrimSuffix(output, "\n"), "\n")[1:]
			if strings.Join(lines, "\n") != strings.Join(test.lines, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(test.lines, "\n"))
			}
		})
	}
}

func TestHoldersAreShownByNameIDAndUser(t *testing.T) {
	for _, test := range []struct {
		sockets []string
		want    string
	}{
		{[]string{"2 tcp CLOSE java[7] root", "tcp CLOSE java[8] root"}, "tcp CLOSE held by: java[7] (root) 2, java[8] (root) 1"},
		{[]string{"2 tcp CLOSE java ?", "tcp CLOSE - -", "tcp CLOSE - root"}, "tcp CLOSE held by: java 2, - 1, - (root) 1"},
		{[]string{"2 tcp CLOSE ? root", "tcp CLOSE ? ?"}, "tcp CLOSE held by: ? (root) 2"},
		{[]string{"tcp CLOSE a:b=c[3] d|e"}, "tcp CLOSE held by: a_b_c[3] (d_e) 1"},
	} {
		config := configOf(t, "-w", "0")
		from := made(socketsOf(test.sockets...))
		groups := groupsOf(config, from)
		lines, err := culprits(func(tallies []*tally) []dump { return from.dumps(t.Context(), tallies) }, config.violations(&results{groups: groups}), false)
		if got := strings.Join(lines, "\n"); got != test.want || err != nil {
			t.Errorf("%q: got  %s, %v\nwant %s", test.sockets, got, err, test.want)
		}
	}
}

func TestHiddenHoldersOfALiveSystemAreTold(t *testing.T) {
	from := made(socketsOf("3 tcp CLOSE ? root", "2 tcp CLOSE java root"))
	output, _ := replyTo(t, from, "-w", "0")
	if want := "3 sockets belong to processes that this user may not see (?): "; strings.Count(output, want) != 1 {
		t.Errorf("got %s", output)
	}
	output, _ = replyTo(t, from, "-w", "0", "--by", "process")
	if want := "3 sockets belong to processes that this user may not see (?): "; strings.Count(output, want) != 1 { // told anyway
		t.Errorf("got %s", output)
	}
}

func TestFiveCulpritsAtMost(t *testing.T) {
	var from made
	for process := range 7 {
		from = append(from, socketsOf(fmt.Sprintf("%d tcp ESTABLISHED p[%d] - 10.0.0.1:40000 10.0.1.%d:80", process+1, 100+process, process))...)
	}
	output, _ := replyTo(t, from, "-w", "0")
	want := "tcp ESTABLISHED held by: p[106] 7, p[105] 6, p[104] 5, p[103] 4, p[102] 3\n" +
		"tcp ESTABLISHED peers: 10.0.1.6:80 7, 10.0.1.5:80 6, 10.0.1.4:80 5, 10.0.1.3:80 4, 10.0.1.2:80 3\n"
	if _, lines, _ := strings.Cut(output, "\n"); lines != want {
		t.Errorf("got  %swant %s", lines, want)
	}
}

func TestPeersThatStandOutAreNamedAmongMoreThanCanBeKept(t *testing.T) {
	for leaked, want := range map[int]string{2 * maxPeers: fmt.Sprintf("10.0.0.5:5432 %d", 2*maxPeers), 50: tooManyPeers} {
		from := made(socketsOf(fmt.Sprintf("%d tcp CLOSE_WAIT - - 10.0.0.1:40000 10.0.0.5:5432", leaked)))
		for i := range maxPeers + 100 {
			from = append(from, socket(fmt.Sprintf("tcp CLOSE_WAIT - - 10.0.0.1:40000 10.1.%d.%d:443", i>>8&255, i&255)))
		}
		output, _ := replyTo(t, from, "-w", "0")
		if _, lines, _ := strings.Cut(output, "\n"); !strings.Contains(lines, "tcp CLOSE WAIT peers: "+want+"\n") {
			t.Errorf("%d: got  %swant %s", leaked, lines, want)
		}
	}
}
