package main

import (
	"fmt"
	stdnet "net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// socket returns a socket as a reader makes it, from a line such as
// "tcp6 CLOSE_WAIT java[4711] www-data 10.0.0.1:40000 10.0.0.5:5432". There is
// none of what is left out at the end, and ? stands for what is hidden.
func socket(line string) *Socket {
	words := strings.Fields(line)
	for len(words) < 6 {
		words = append(words, nothing)
	}
	process, pid, _ := strings.Cut(strings.TrimSuffix(words[2], "]"), "[")
	number, _ := strconv.Atoi(pid)
	s := &Socket{Proto: words[0], Idle: -1}
	s.Process, s.User, s.Unit = process, words[3], nothing
	s.Status, s.Pid = words[1], int32(number)
	s.Laddr.IP, s.Laddr.Port = endpoint(words[4])
	s.Raddr.IP, s.Raddr.Port = endpoint(words[5])
	if number > 0 {
		s.Holders = []holder{{s.Pid, process, words[3]}}
	}
	return s
}

func endpoint(text string) (address string, port uint32) {
	switch text {
	case hidden:
		return hidden, portHidden
	case nothing:
		return nothing, 0
	}
	address, number, err := stdnet.SplitHostPort(text)
	if err != nil {
		panic(err)
	}
	value, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		panic(err)
	}
	return address, uint32(value)
}

// socketsOf returns a socket for each line. A number in front of a line stands
// for as many.
func socketsOf(lines ...string) (all []*Socket) {
	for _, line := range lines {
		first, rest, _ := strings.Cut(line, " ")
		number, err := strconv.Atoi(first)
		if err != nil {
			number, rest = 1, line
		}
		all = append(all, slices.Repeat([]*Socket{socket(rest)}, number)...)
	}
	return all
}

func TestRecordedConnectionsAreCountedByTypeAndStatus(t *testing.T) {
	for recording, want := range map[string]string{
		"linux-many-statuses": "tcp CLOSE_WAIT 2, tcp CLOSING 1, tcp ESTABLISHED 4, tcp FIN_WAIT1 3, tcp FIN_WAIT2 4, tcp LAST_ACK 2, tcp LISTEN 3, tcp SYN_RECV 1, tcp SYN_SENT 2, tcp TIME_WAIT 1, " +
			"tcp6 CLOSE_WAIT 4, tcp6 CLOSING 2, tcp6 ESTABLISHED 8, tcp6 FIN_WAIT1 6, tcp6 FIN_WAIT2 8, tcp6 LAST_ACK 4, tcp6 LISTEN 6, tcp6 SYN_RECV 2, tcp6 SYN_SENT 4, tcp6 TIME_WAIT 2, udp NONE 3, udp6 NONE 6",
		"linux-idle-host": "tcp ESTABLISHED 2, tcp LISTEN 3, tcp6 LISTEN 3, udp NONE 2, udp6 NONE 1",
		"windows-wine": "tcp CLOSE_WAIT 2, tcp CLOSING 1, tcp ESTABLISHED 4, tcp FIN_WAIT1 3, tcp FIN_WAIT2 4, tcp LAST_ACK 2, tcp LISTEN 10, tcp SYN_RECV 1, tcp SYN_SENT 2, tcp TIME_WAIT 1, " +
			"tcp6 CLOSE_WAIT 4, tcp6 CLOSING 2, tcp6 ESTABLISHED 8, tcp6 FIN_WAIT1 6, tcp6 FIN_WAIT2 8, tcp6 LAST_ACK 4, tcp6 LISTEN 20, tcp6 SYN_RECV 2, tcp6 SYN_SENT 4, tcp6 TIME_WAIT 2, udp NONE 4, udp6 NONE 8",
		"macos-lsof": "tcp CLOSE 1, tcp ESTABLISHED 4, tcp FIN_WAIT2 1, tcp LISTEN 4, tcp SYN_SENT 1, " +
			"tcp6 CLOSE_WAIT 2, tcp6 ESTABLISHED 2, tcp6 LISTEN 5, udp NONE 3, udp6 NONE 2",
		"small-server":   "tcp CLOSE_WAIT 4, tcp ESTABLISHED 19, tcp LISTEN 9, tcp TIME_WAIT 1, tcp6 CLOSE_WAIT 1, tcp6 LISTEN 4, udp NONE 16, udp6 NONE 5",
		"other-families": "tcp6 LISTEN 3, udp6 NONE 2",
		"empty":          "",
	} {
		t.Run(recording, func(t *testing.T) {
			counted := (&Question{}).tally(grouping{byType, byStatus})
			found, err := count((&Recording{Path: "testdata/" + recording + ".json"}).dumps(t.Context(), []*tally{counted}), counted)
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, r := range found.counts[0].rows {
				texts = append(texts, fmt.Sprint(strings.ReplaceAll(r.key, keySeparator, " "), " ", r.known))
			}
			slices.Sort(texts)
			if got := strings.Join(texts, ", "); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestStatusesThatASystemNeverListsAreRefused(t *testing.T) {
	for _, test := range []struct{ system, status, message string }{
		{"linux", "LISTEN", ""},
		{"linux", "DELETE_TCB", "only Windows has sockets in the status delete_tcb: leave it out"},
		{"windows", "DELETE_TCB", ""},
		{"linux", "BOUND", "no supported system has sockets in the status bound: leave it out"},
		{"solaris", "IDLE", "no supported system has sockets in the status idle: leave it out"},
		{"darwin", "TIME_WAIT", "lsof, which lists the sockets on this system, has only those that a process holds, and next to none in time_wait is held: leave it out"},
		{"freebsd", "SYN_RECV", "lsof, which lists the sockets on this system, has only those that a process holds, and next to none in syn_recv is held: leave it out"},
		{"windows", "TIME_WAIT", ""},
	} {
		if err := checkStatus(test.system, test.status); test.message == "" && err != nil || test.message != "" && (err == nil || err.Error() != test.message) {
			t.Errorf("%s %s: got %v", test.system, test.status, err)
		}
		if isListed := slices.Contains(statusesOf(test.system), test.status); isListed != (test.message == "") {
			t.Errorf("%s lists %s: %t", test.system, test.status, isListed)
		}
	}
}

func TestConnectionsThatCameInAreKnownByTheirListener(t *testing.T) {
	listening := listeners{}
	for _, each := range socketsOf(
		"tcp LISTEN - - 0.0.0.0:80", "tcp6 LISTEN - - [::]:443", "tcp LISTEN - - 10.0.0.1:22", "tcp LISTEN - - [*]:8080",
		"tcp ESTABLISHED - - 10.0.0.1:9000 10.0.0.5:80", "udp NONE - - 0.0.0.0:53",
	) {
		listening.add(each)
	}
	for line, want := range map[string]bool{
		"tcp ESTABLISHED - - 10.0.0.1:80 10.0.0.9:50000":   true,
		"tcp TIME_WAIT - - 10.0.0.1:22 10.0.0.9:50000":     true,
		"tcp ESTABLISHED - - 10.0.0.2:22 10.0.0.9:50000":   false, // another address
		"tcp ESTABLISHED - - 10.0.0.1:443 10.0.0.9:50000":  false, // another type
		"tcp6 ESTABLISHED - - 10.0.0.1:443 10.0.0.9:50000": true,
		"tcp ESTABLISHED - - 10.0.0.1:8080 10.0.0.9:50000": true,
		"tcp ESTABLISHED - - 10.0.0.1:9000 10.0.0.5:80":    false,
		"udp NONE - - 10.0.0.1:53 10.0.0.9:50000":          false,
	} {
		if got := listening.accepted(socket(line)); got != want {
			t.Errorf("%s: got %t", line, got)
		}
	}
}
