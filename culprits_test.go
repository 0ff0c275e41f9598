package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// linesOf returns the lines behind the first one.
func linesOf(output string) string {
	_, lines, _ := strings.Cut(output, "\n")
	return strings.TrimSuffix(lines, "\n")
}

// leakingHost is a host whose application does not close its connections to a
// database, seen as root.
func leakingHost() made {
	return socketsOf(
		"tcp LISTEN nginx[700] www-data 0.0.0.0:8443 - unit=nginx.service", "3 tcp LISTEN sshd[600] root 10.0.0.1:22 - unit=ssh.service",
		"120 tcp CLOSE_WAIT java[19880] www-data 10.0.0.1:40000 10.0.0.5:5432 unit=tomcat9.service idle=41m59s",
		"113 tcp CLOSE_WAIT java[19882] www-data 10.0.0.1:40000 10.0.0.5:5432 unit=tomcat9.service idle=41m",
		"6 tcp CLOSE_WAIT java[19882] www-data 10.0.0.1:40000 10.0.0.5:5432 unit=tomcat9.service idle=59s",
		"tcp CLOSE_WAIT java[19882] www-data 10.0.0.1:40000 10.0.0.5:5432 unit=tomcat9.service idle=3h12m",
		"6 tcp CLOSE_WAIT nginx[700] www-data 10.0.0.1:8443 10.0.0.22:50000 unit=nginx.service idle=0s",
		"246 tcp FIN_WAIT2 - - 10.0.0.1:8443 10.0.0.22:50000", "68 tcp ESTABLISHED java[19880] www-data 10.0.0.1:40000 10.0.0.5:5432 unit=tomcat9.service",
	)
}

func TestAlertNamesWhoWhereToAndSinceWhen(t *testing.T) {
	asRoot := leakingHost()
	asNobody := leakingHost()
	for _, s := range asNobody {
		if s.process != nothing {
			s.process, s.holders = hidden, nil
		}
	}
	for _, test := range []struct {
		from         made
		blame, lines string
	}{
		{asRoot, "(java 240)", "java (www-data, tomcat9.service) 240 in 2 processes: 19880, 19882; nginx (www-data, nginx.service) 6"},
		{asNobody, "(tomcat9.service 240)", "tomcat9.service (www-data) 240; nginx.service (www-data) 6"},
	} {
		output, code := replyTo(t, test.from, "-w", "close_wait=50")
		want := "tcp CLOSE WAIT: 246 [WARNING] " + test.blame + ", tcp FIN WAIT2: 246, tcp ESTABLISHED: 68, tcp LISTEN: 4"
		if textOf(output) != want || code != 1 {
			t.Errorf("got  %swant %s", output, want)
		}
		want = "tcp CLOSE WAIT held by: " + test.lines +
			"\ntcp CLOSE WAIT peers: to 10.0.0.5:5432 240, from 10.0.0.22 at :8443 6" +
			"\ntcp CLOSE WAIT idle: longest 3h12m, median 41m, 12 within the last minute"
		if got := linesOf(output); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestCulpritsOfTheWorstGroups(t *testing.T) {
	for _, test := range []struct {
		name, arguments string
		lines           []string
	}{
		{"nothing in violation", "-w 100", nil},
		{
			"peers that came to us without their ports", "-w close_wait=5",
			[]string{"tcp CLOSE WAIT held by: ? (1000) 8", "tcp CLOSE WAIT peers: from 10.0.0.9 at :8080 8"},
		},
		{
			"critical groups first, then the larger ones", "-w tcp=1 -c tcp6=1",
			[]string{
				"tcp6 ESTABLISHED held by: ? (33) 5", "tcp6 ESTABLISHED peers: to [fd00::1]:443 3, from 10.0.0.9 at :443 2",
				"tcp CLOSE WAIT held by: ? (1000) 8", "tcp CLOSE WAIT peers: from 10.0.0.9 at :8080 8",
				"tcp ESTABLISHED held by: ? (1000) 5", "tcp ESTABLISHED peers: to 10.0.0.5:5432 5",
			},
		},
		{"no peers", "-c tcp_listen=0", []string{"tcp LISTEN held by: ? (1000) 1"}},
		{"nobody can hold them", "-c time_wait=0", []string{"tcp TIME WAIT peers: to 10.0.0.5:5432 4"}},
		{"no sockets", "-c tcp_closing=1:", nil},
		{
			"groups without sockets take no place", "-c tcp_closing=1:,tcp_close=1:,tcp_last_ack=1: -w tcp_listen=0",
			[]string{"tcp LISTEN held by: ? (1000) 1"},
		},
		{
			"the total", "-c total=0",
			[]string{
				"total held by: ? (1000) 14; ? (33) 6; no process 4; ? (101) 2",
				"total peers: to 10.0.0.5:5432 9, from 10.0.0.9 at :8080 8, to [fd00::1]:443 3, from 10.0.0.9 at :443 2, to 10.0.0.53:53 1",
			},
		},
		{
			"within the filters", "-c tcp6_established=0 --remote-port 443",
			[]string{"tcp6 ESTABLISHED held by: ? (33) 3", "tcp6 ESTABLISHED peers: to [fd00::1]:443 3"},
		},
		{
			"of groups by another dimension", "--by remote-address -c 10.0.0.5=8",
			[]string{"10.0.0.5 held by: ? (1000) 5", "10.0.0.5 peers: to 10.0.0.5:5432 9"},
		},
		{"not wanted", "-w close_wait=5 --no-details", nil},
		{"always ok", "-c tcp_listen=0 --always-ok", []string{"tcp LISTEN held by: ? (1000) 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, _ := reply(append(strings.Fields(test.arguments), "--test", "testdata/leaking-server.json")...)
			if lines := linesOf(output); lines != strings.Join(test.lines, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", lines, strings.Join(test.lines, "\n"))
			}
		})
	}
}

// The first line names who has most of the worst group, where that is known and
// the name of the group does not say it.
func TestFirstLineNamesWhoHasMost(t *testing.T) {
	java := "tcp CLOSE_WAIT java[7] root 10.0.0.1:40000 10.0.0.5:5432 unit=tomcat9.service"
	for _, test := range []struct {
		arguments, text string
		sockets         []string
	}{
		{"-w 5", "tcp CLOSE WAIT: 8 [WARNING] (java 8), tcp LISTEN: 1", []string{"8 " + java, "tcp LISTEN web"}},
		{"-w 5", "tcp LISTEN: 9 [WARNING] (web 9), tcp CLOSE WAIT: 8 [WARNING]", []string{"8 " + java, "9 tcp LISTEN web"}},
		{"-w 5 -c close_wait=5", "tcp LISTEN: 9 [WARNING], tcp CLOSE WAIT: 8 [CRITICAL] (java 8)", []string{"8 " + java, "9 tcp LISTEN web"}},
		{"-w 5 --always-ok", "tcp CLOSE WAIT: 8 [WARNING] (java 8) (always ok)", []string{"8 " + java}},
		{"-w total=5", "tcp CLOSE WAIT: 8, total: 8 [WARNING] (java 8)", []string{"8 " + java}},
		{"-w 5 --by user", "root: 8 [WARNING] (java 8)", []string{"8 " + java}},
		{"-w 5 --by remote-address --top 1", "10.0.0.5: 8 [WARNING] (java 8) (+1 more: 1)", []string{"8 " + java, "tcp LISTEN web"}},
		{"-w 5", "tcp CLOSE WAIT: 9 [WARNING] (java 5)", []string{"3 " + java, "2 tcp CLOSE_WAIT java[8] nobody", "4 tcp CLOSE_WAIT web"}}, // whoever runs it
		{"-w 0", "tcp CLOSE WAIT: 2 [WARNING] (a_b 1)", []string{"tcp CLOSE_WAIT a:b", "tcp CLOSE_WAIT b"}},

		// It is left out.
		{"-w 5 --no-details", "tcp CLOSE WAIT: 8 [WARNING]", []string{"8 " + java}},
		{"-w 5 --by process", "java: 8 [WARNING]", []string{"8 " + java}},
		{"-w 5 --by status,process", "CLOSE WAIT java: 8 [WARNING]", []string{"8 " + java}},
		{"-w 5 --by unit", "tomcat9.service: 8 [WARNING]", []string{"8 " + java}},
		{"-w 5", "tcp TIME WAIT: 8 [WARNING]", []string{"8 tcp TIME_WAIT - - 10.0.0.1:40000 10.0.0.5:5432"}},
		{"-w 5", "tcp CLOSE: 8 [WARNING]", []string{"5 tcp CLOSE ? root", "3 tcp CLOSE web root"}}, // most are hidden
		{"-w 20", "tcp CLOSE WAIT: 8", []string{"8 " + java}},
	} {
		if strings.Contains(test.arguments, "unit") && thisSystem != "linux" {
			continue
		}
		if output, _ := replyTo(t, socketsOf(test.sockets...), strings.Fields(test.arguments)...); textOf(output) != test.text {
			t.Errorf("%s: got  %swant %s", test.arguments, output, test.text)
		}
	}
	for _, test := range []struct{ recording, text string }{
		{"leaking-server", "tcp CLOSE WAIT: 8 [CRITICAL], tcp ESTABLISHED: 5, tcp6 ESTABLISHED: 5, tcp TIME WAIT: 4, udp NONE: 2, tcp LISTEN: 1, tcp6 LISTEN: 1"}, // names nobody
		{"systemd-and-containers", "tcp CLOSE WAIT: 3 [CRITICAL] (tomcat9.service 2), udp NONE: 2, tcp ESTABLISHED: 1, tcp LISTEN: 1, tcp TIME WAIT: 1, tcp6 ESTABLISHED: 1, tcp6 LISTEN: 1"},
	} {
		if output, _ := reply("-c", "close_wait=0", "--test", "testdata/"+test.recording+".json"); textOf(output) != test.text {
			t.Errorf("%s: got  %swant %s", test.recording, output, test.text)
		}
	}
}

func TestHiddenHoldersOfALiveSystemAreTold(t *testing.T) {
	note := hiddenNote(3)
	from := made(socketsOf("3 tcp CLOSE ? root", "2 tcp CLOSE java root"))
	for arguments, want := range map[string]int{"-w 0": 1, "-w 0,total=0": 1, "-w 0 --by process": 1, "-w 9": 0} { // each once; by process it is told anyway
		if output, _ := replyTo(t, from, strings.Fields(arguments)...); strings.Count(output, note) != want {
			t.Errorf("%s: got %s", arguments, output)
		}
	}
	if output, _ := replyTo(t, socketsOf("3 tcp CLOSE ? root unit=tomcat9.service"), "-w", "0"); strings.Contains(output, note[1:]) {
		t.Errorf("the unit is known: got %s", output)
	}
}

func TestFiveCulpritsAtMostAndHowManyMore(t *testing.T) {
	var from made
	for i := range 7 {
		from = append(from, socketsOf(fmt.Sprintf("%d tcp ESTABLISHED p%d[%d] - 10.0.0.1:40000 10.0.1.%d:80", i+1, i, 100+i, i))...)
	}
	output, _ := replyTo(t, from, "-w", "0")
	want := "tcp ESTABLISHED held by: p6 7; p5 6; p4 5; p3 4; p2 3; +2 more: 3\n" +
		"tcp ESTABLISHED peers: to 10.0.1.6:80 7, to 10.0.1.5:80 6, to 10.0.1.4:80 5, to 10.0.1.3:80 4, to 10.0.1.2:80 3, +2 more: 3"
	if lines := linesOf(output); lines != want {
		t.Errorf("got  %s\nwant %s", lines, want)
	}
	from = nil
	for i := range 30 {
		from = append(from, socketsOf(fmt.Sprintf("2 tcp ESTABLISHED - - 10.0.0.1:40000 10.0.1.%d:80", 10+i))...)
	}
	if output, _ = replyTo(t, from, "-w", "0"); !strings.HasSuffix(linesOf(output), ", to 10.0.1.14:80 2, +25 more: 50") {
		t.Errorf("got %s", output)
	}
}

func TestPeersThatStandOutAreNamedAmongMoreThanCanBeKept(t *testing.T) {
	const others = maxPeers + 100
	for leaked, want := range map[int]string{
		2 * maxPeers: fmt.Sprintf("to 10.0.0.5:5432 %d, more than %d others: %d", 2*maxPeers, maxPeers-1, others),
		50:           fmt.Sprintf("more than %d others: %d", maxPeers, 50+others),
	} {
		from := made(socketsOf(fmt.Sprintf("%d tcp CLOSE_WAIT - - 10.0.0.1:40000 10.0.0.5:5432", leaked)))
		for i := range others {
			from = append(from, socketOf(fmt.Sprintf("tcp CLOSE_WAIT - - 10.0.0.1:40000 10.1.%d.%d:443", i>>8&255, i&255)))
		}
		output, _ := replyTo(t, from, "-w", "0")
		if lines := linesOf(output); lines != "tcp CLOSE WAIT peers: "+want {
			t.Errorf("%d: got  %s\nwant %s", leaked, lines, want)
		}
	}
}

func TestPeersHaveADirection(t *testing.T) {
	listening := []string{"tcp LISTEN web[1] - 0.0.0.0:80", "tcp LISTEN web[1] - 10.0.0.1:8443", "tcp6 LISTEN web[1] - [::]:443"}
	for _, test := range []struct{ line, want string }{
		{"tcp CLOSING - - 10.0.0.1:40000 10.0.0.5:80", "to 10.0.0.5:80 1"},
		{"tcp CLOSING - - 10.0.0.1:80 10.0.0.5:40000", "from 10.0.0.5 at :80 1"},
		{"tcp CLOSING - - 10.0.0.1:8443 10.0.0.5:40000", "from 10.0.0.5 at 10.0.0.1:8443 1"},
		{"tcp CLOSING - - 10.0.0.2:8443 10.0.0.5:40000", "to 10.0.0.5:40000 1"}, // nobody listens there
		{"tcp6 CLOSING - - [fd00::1]:443 [fd00::9]:40000", "from fd00::9 at :443 1"},
		{"tcp6 CLOSING - - 10.0.0.1:443 10.0.0.9:40000", "from 10.0.0.9 at :443 1"}, // IPv4-mapped
		{"tcp6 CLOSING - - [fd00::1]:40000 [fd00::9]:443", "to [fd00::9]:443 1"},
		{"udp NONE - - 10.0.0.1:40000 10.0.0.53:53", "to 10.0.0.53:53 1"},
		{"udp NONE - - 0.0.0.0:53", ""},
		{"tcp CLOSING - - 10.0.0.1:40000 ?", ""},
	} {
		output, _ := replyTo(t, socketsOf(append(slices.Clone(listening), test.line)...), "-w", "closing=0,udp=0")
		_, got, _ := strings.Cut(linesOf(output), "peers: ")
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.line, got, test.want)
		}
	}
}

func TestIdleTimesTellAnOldLeakFromOneThatGrows(t *testing.T) {
	for _, test := range []struct {
		idle []string
		want string
	}{
		{[]string{"0s"}, "longest 0s, median 0s, 1 within the last minute"},
		{[]string{"59.9s", "60s"}, "longest 1m, median 59s, 1 within the last minute"},
		{[]string{"10s", "61m", "59m59s"}, "longest 1h1m, median 59m, 1 within the last minute"},
		{[]string{"1h59m59s", "2h", "2h", "50h"}, "longest 2d2h, median 2h0m, 0 within the last minute"},
		{[]string{"-1s", "5s"}, "longest 5s, median 5s, 1 within the last minute"}, // the kernel keeps no times of one
		{[]string{"-1s"}, ""},
		{nil, ""},
	} {
		var from made
		for _, idle := range test.idle {
			from = append(from, socketOf("tcp CLOSE_WAIT web[7] - 10.0.0.1:40000 ? idle="+idle))
		}
		from = append(from, socketsOf("5 tcp CLOSE_WAIT web[7]", "tcp LISTEN web[7] - 0.0.0.0:80 - idle=5h")...)
		output, _ := replyTo(t, from, "-w", "0")
		_, lines, _ := strings.Cut(output, "tcp CLOSE WAIT idle: ")
		got, _, _ := strings.Cut(lines, "\n")
		if got != test.want || strings.Contains(output, "LISTEN idle") {
			t.Errorf("%q: got %q", test.idle, got)
		}
	}
}
