package main

import (
	"strings"
	"testing"
)

func TestFullestQueueOfTheListeners(t *testing.T) {
	for _, test := range []struct {
		name    string
		halfMax int
		sockets []string
		text    string
		percent string
	}{
		{"nothing listens", 0, nil, "accept queue: 0%, nothing listens", "0"},
		{"nothing waits", 0, []string{"tcp LISTEN web - 0.0.0.0:80 - backlog=128", "tcp LISTEN web - 0.0.0.0:443 - backlog=60"}, "accept queue: 0% of 61 at 0.0.0.0:443", "0"},
		{"a full one", 0, []string{"tcp LISTEN web - 0.0.0.0:8443 - queue=61 backlog=60", "tcp LISTEN web - 0.0.0.0:80 - queue=100 backlog=128"}, "accept queue: 100% of 61 at 0.0.0.0:8443 [WARNING]", "100"},
		{"the share counts, not the number", 0, []string{"tcp LISTEN web - 10.0.0.1:80 - queue=2 backlog=9", "tcp LISTEN web - 0.0.0.0:443 - queue=15 backlog=127"}, "accept queue: 20% of 10 at 10.0.0.1:80", "20"},
		{"never above 100 percent", 0, []string{"tcp6 LISTEN web - [::]:80 - queue=5 backlog=1"}, "accept queue: 100% of 2 at [::]:80 [WARNING]", "100"},
		{"less than one percent", 0, []string{"tcp LISTEN web - 0.0.0.0:80 - queue=3 backlog=999"}, "accept queue: 0.3% of 1000 at 0.0.0.0:80", "0.3"},
		{"a backlog of 0", 0, []string{"tcp LISTEN web - 0.0.0.0:80 - queue=1 backlog=0"}, "accept queue: 100% of 1 at 0.0.0.0:80 [WARNING]", "100"},
		{"no UDP", 0, []string{"udp NONE dns - 0.0.0.0:53 - queue=5 backlog=1"}, "accept queue: 0%, nothing listens", "0"},
		{
			"half-open connections", 0, []string{"tcp LISTEN web - 0.0.0.0:80 - backlog=50", "43 tcp SYN_RECV - - 10.0.0.1:80 10.0.0.9:50000"},
			"half-open connections: 84% of 51 at 0.0.0.0:80 [WARNING]", "84.3",
		},
		{
			"half-open ones of IPv6 and IPv4-mapped", 0, []string{"tcp6 LISTEN web - [::]:443 - backlog=9", "2 tcp6 SYN_RECV - - 10.0.0.1:443 10.0.0.9:50000", "tcp6 SYN_RECV - - [fd00::1]:443 [fd00::9]:50000"},
			"half-open connections: 30% of 10 at [::]:443", "30",
		},
		{
			"half-open ones of a listener on any IPv4-mapped address", 0, []string{"tcp6 LISTEN web - 0.0.0.0:8443 - backlog=9", "3 tcp6 SYN_RECV - - 127.0.0.1:8443 127.0.0.1:50000"},
			"half-open connections: 30% of 10 at [::]:8443", "30",
		},
		{
			"half-open ones of an address", 0, []string{"tcp LISTEN web - 10.0.0.1:80 - backlog=9", "tcp LISTEN web - 10.0.0.2:80 - backlog=9", "3 tcp SYN_RECV - - 10.0.0.2:80 10.0.0.9:50000"},
			"half-open connections: 30% of 10 at 10.0.0.2:80", "30",
		},
		{
			"half-open ones of a listener that is gone", 0, []string{"tcp LISTEN web - 0.0.0.0:80 - backlog=9", "5 tcp SYN_RECV - - 10.0.0.1:81 10.0.0.9:50000"},
			"accept queue: 0% of 10 at 0.0.0.0:80", "0",
		},
		{
			"fewer half-open ones without syncookies", 20, []string{"tcp LISTEN web - 0.0.0.0:80 - backlog=99", "8 tcp SYN_RECV - - 10.0.0.1:80 10.0.0.9:50000"},
			"half-open connections: 40% of 20 at 0.0.0.0:80", "40",
		},
		{
			"a backlog below that", 20, []string{"tcp LISTEN web - 0.0.0.0:80 - backlog=9", "4 tcp SYN_RECV - - 10.0.0.1:80 10.0.0.9:50000"},
			"half-open connections: 40% of 10 at 0.0.0.0:80", "40",
		},
		{
			"several sockets on one port, each by itself", 0, []string{"tcp LISTEN web - 0.0.0.0:80 - queue=1 backlog=9", "tcp LISTEN web - 0.0.0.0:80 - queue=5 backlog=9"},
			"accept queue: 50% of 10 at 0.0.0.0:80", "50",
		},
		{
			"several sockets on one port have half-open ones together", 0,
			[]string{"3 tcp LISTEN web - 0.0.0.0:80 - backlog=9", "tcp LISTEN web - 0.0.0.0:80 - queue=1 backlog=9", "20 tcp SYN_RECV - - 10.0.0.1:80 10.0.0.9:50000"},
			"half-open connections: 50% of 40 at 0.0.0.0:80", "50",
		},
	} {
		want := "[OK] - "
		if strings.Contains(test.text, "WARNING") {
			want = "[WARNING] - "
		}
		want += test.text + "|backlog=" + test.percent + "%;80;;0;100"
		if got := judgedLimit(t, backlogs{0: {halfMax: test.halfMax}}, socketsOf(test.sockets...), "80"); got != want {
			t.Errorf("%s: got  %s\nwant %s", test.name, got, want)
		}
	}
}

func TestQueuesOfSeveralNamespaces(t *testing.T) {
	queues := backlogs{1: {name: "web"}, 2: {name: "d:b", halfMax: 4}}
	for _, test := range []struct {
		sockets []string
		want    string
	}{
		{[]string{"tcp LISTEN a - 0.0.0.0:80 - space=1 queue=2 backlog=9", "tcp LISTEN b - 0.0.0.0:80 - space=2 queue=1 backlog=9"}, "accept queue: 20% of 10 at 0.0.0.0:80 in web"},
		{[]string{"tcp LISTEN a - 0.0.0.0:80 - space=1 queue=2 backlog=9", "tcp LISTEN b - 0.0.0.0:80 - space=2 queue=3 backlog=9"}, "accept queue: 30% of 10 at 0.0.0.0:80 in d_b"},
		{
			[]string{"tcp LISTEN a - 0.0.0.0:80 - space=1 backlog=9", "tcp LISTEN b - 0.0.0.0:80 - space=2 backlog=9", "2 tcp SYN_RECV - - 10.0.0.1:80 10.0.0.9:5 space=2", "3 tcp SYN_RECV - - 10.0.0.1:80 10.0.0.9:5 space=1"},
			"half-open connections: 50% of 4 at 0.0.0.0:80 in d_b",
		},
	} {
		if got := judgedLimit(t, queues, socketsOf(test.sockets...), "80"); textOf(got) != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestHoldersOfAFullQueue(t *testing.T) {
	from := made(socketsOf(
		"tcp LISTEN slowapp[7] root 0.0.0.0:8443 - queue=3 backlog=2", "2 tcp ESTABLISHED - - 10.0.0.1:8443 10.0.0.9:50000", "tcp CLOSE_WAIT - - 10.0.0.1:8443 10.0.0.8:50000",
		"tcp ESTABLISHED slowapp[7] root 10.0.0.1:8443 10.0.0.7:50000", "tcp LISTEN web[8] root 0.0.0.0:80 - backlog=2", "tcp ESTABLISHED - - 10.0.0.1:80 10.0.0.9:50000",
	))
	output, code := replyOf(t, withLimits(t, "", "backlog=90"), from, backlogs{0: {}})
	want := "accept queue held by: slowapp (root) 4 (3 not accepted)\naccept queue peers: from 10.0.0.9 at :8443 2, from 10.0.0.8 at :8443 1"
	if !strings.HasSuffix(textOf(output), ", accept queue: 100% of 3 at 0.0.0.0:8443 [CRITICAL] (slowapp)") || linesOf(output) != want || code != 2 {
		t.Errorf("got  %d %s\nwant %s", code, output, want)
	}
}
