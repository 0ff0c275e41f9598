package main

import (
	"fmt"
	stdnet "net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// socket returns a socket as a reader makes it, from a line such as
// "tcp6 CLOSE_WAIT java[4711] www-data 10.0.0.1:40000 10.0.0.5:5432". There is
// none of what is left out at the end, and ? stands for what is hidden. Several
// processes that hold it are joined by +. What is in socketOptions can follow.
func socketOf(line string) *socket {
	var words, more []string
	for word := range strings.FieldsSeq(line) {
		if name, _, _ := strings.Cut(word, "="); socketOptions[name] != nil {
			more = append(more, word)
		} else {
			words = append(words, word)
		}
	}
	for len(words) < 6 {
		words = append(words, nothing)
	}
	s := &socket{proto: words[0], idle: -1, direction: nothing}
	s.Status, s.user, s.unit = words[1], words[3], nothing
	s.Laddr.IP, s.Laddr.Port = endpoint(words[4])
	s.Raddr.IP, s.Raddr.Port = endpoint(words[5])
	var names []string
	for word := range strings.SplitSeq(words[2], "+") {
		name, pid, _ := strings.Cut(strings.TrimSuffix(word, "]"), "[")
		if number, _ := strconv.Atoi(pid); number > 0 {
			s.holders = append(s.holders, holder{int32(number), name, words[3]})
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	s.process = strings.Join(names, "+")
	if len(s.holders) > 0 {
		s.Pid = s.holders[0].pid
	}
	for _, option := range more {
		name, value, _ := strings.Cut(option, "=")
		socketOptions[name](s, value)
	}
	return s
}

// socketOptions are what not every socket has: unit=nginx.service, and so on.
var socketOptions = map[string]func(s *socket, value string){
	"unit":      func(s *socket, value string) { s.unit = value },
	"netns":     func(s *socket, value string) { s.netns = value },
	"space":     func(s *socket, value string) { s.netnsID = uint64(numberOf(value)) },
	"direction": func(s *socket, value string) { s.direction = value },
	"idle":      func(s *socket, value string) { s.idle = durationOf(value) },
	"left":      func(s *socket, value string) { s.left = durationOf(value) },
	"queue":     func(s *socket, value string) { s.queue = uint32(numberOf(value)) },
	"backlog":   func(s *socket, value string) { s.backlog = uint32(numberOf(value)) },
	"device":    func(s *socket, value string) { s.device = uint32(numberOf(value)) },
	"runs-as": func(s *socket, value string) {
		for i := range s.holders {
			s.holders[i].user = value
		}
	},
}

func numberOf(text string) int {
	number, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return number
}

func durationOf(text string) time.Duration {
	duration, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return duration
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
func socketsOf(lines ...string) (all []*socket) {
	for _, line := range lines {
		first, rest, _ := strings.Cut(line, " ")
		number, err := strconv.Atoi(first)
		if err != nil {
			number, rest = 1, line
		}
		all = append(all, slices.Repeat([]*socket{socketOf(rest)}, number)...)
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
			tallied := (&question{}).tally(grouping{byType, byStatus})
			found, err := count((&fixture{path: "testdata/" + recording + ".json"}).dumps(t.Context(), []*tally{tallied}), tallied)
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
		{"linux", "BOUND", "sockets in the status bound are not counted on any system: leave it out"},
		{"solaris", "IDLE", "sockets in the status idle are not counted on any system: leave it out"},
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
		"tcp LISTEN web - 0.0.0.0:80", "tcp6 LISTEN web - [::]:443", "tcp LISTEN sshd - 10.0.0.1:22", "tcp LISTEN web - [*]:8080", "tcp LISTEN old - 0.0.0.0:22", "tcp LISTEN second - 10.0.0.1:22",
		"tcp LISTEN calm - 10.0.0.1:81", "tcp LISTEN hung - 10.0.0.1:81 - queue=7", "tcp LISTEN calm - 10.0.0.1:81", // SO_REUSEPORT
		"tcp LISTEN hung - 10.0.0.1:82 - queue=7", "tcp LISTEN slow - 10.0.0.1:82 - queue=1",
		"tcp LISTEN web[7] - 10.0.0.1:83", "tcp LISTEN web[8] - 10.0.0.1:83",
		"tcp ESTABLISHED web - 10.0.0.1:9000 10.0.0.5:80", "udp NONE dns - 0.0.0.0:53",
	) {
		listening.orient(each, true)
	}
	for _, test := range []struct{ line, direction, listener string }{
		{"tcp LISTEN web - 0.0.0.0:80", "listen", ""},
		{"tcp ESTABLISHED web - 10.0.0.1:80 10.0.0.9:50000", "in", ""},
		{"tcp TIME_WAIT - - 10.0.0.1:22 10.0.0.9:50000", "in", "10.0.0.1"},
		{"tcp ESTABLISHED web - 10.0.0.2:22 10.0.0.9:50000", "in", ""},
		{"tcp ESTABLISHED web - 10.0.0.1:443 10.0.0.9:50000", "out", ""}, // another type
		{"tcp6 ESTABLISHED web - 10.0.0.1:443 10.0.0.9:50000", "in", ""}, // IPv4-mapped
		{"tcp6 ESTABLISHED web - [fd00::1]:443 [fd00::9]:50000", "in", ""},
		{"tcp ESTABLISHED web - 10.0.0.1:8080 10.0.0.9:50000", "in", ""},
		{"tcp ESTABLISHED web - 10.0.0.1:9000 10.0.0.5:80", "out", ""},
		{"tcp CLOSE web", "out", ""},
		{"udp NONE dns - 10.0.0.1:53 10.0.0.9:50000", "out", ""},
		{"udp NONE dns - 0.0.0.0:53", "-", ""},
		{"tcp ESTABLISHED web - ? 10.0.0.9:50000", "?", ""},
	} {
		s := socketOf(test.line)
		if listening.orient(s, true); s.direction != test.direction || s.listener != test.listener || s.isWaiting {
			t.Errorf("%s: got %s at %q", test.line, s.direction, s.listener)
		}
	}
	for _, test := range []struct {
		line, process string
		isHeld        bool
	}{
		{"tcp ESTABLISHED - - 10.0.0.1:80 10.0.0.9:50000", "web", false},
		{"tcp CLOSE_WAIT - - 10.0.0.1:22 10.0.0.9:50000", "?", false},    // sshd's or second's
		{"tcp CLOSE_WAIT - - 10.0.0.1:81 10.0.0.9:50000", "hung", false}, // only its queue has any
		{"tcp SYN_RECV - - 10.0.0.1:81 10.0.0.9:50000", "?", false},
		{"tcp ESTABLISHED - - 10.0.0.1:82 10.0.0.9:50000", "?", false},
		{"tcp ESTABLISHED - - 10.0.0.1:83 10.0.0.9:50000", "web", false},
		{"tcp SYN_RECV - - 10.0.0.2:22 10.0.0.9:50000", "old", false},
		{"tcp FIN_WAIT2 - - 10.0.0.1:80 10.0.0.9:50000", "-", false}, // nobody will accept it
		{"tcp TIME_WAIT - - 10.0.0.1:80 10.0.0.9:50000", "-", false},
		{"tcp ESTABLISHED - - 10.0.0.1:9000 10.0.0.5:80", "-", false},
		{"tcp ESTABLISHED worker - 10.0.0.1:80 10.0.0.9:50000", "worker", true},
		{"tcp ESTABLISHED ? - 10.0.0.1:80 10.0.0.9:50000", "?", true},
	} {
		s := socketOf(test.line)
		if listening.orient(s, test.isHeld); s.process != test.process || s.isWaiting != (test.process != "-" && !test.isHeld) {
			t.Errorf("%s: got %s, %t", test.line, s.process, s.isWaiting)
		}
	}
}

// In whatever order a source lists them, listeners are learned first.
func TestListenersAreLearnedFirst(t *testing.T) {
	from := made(socketsOf("3 tcp ESTABLISHED - - 10.0.0.1:80 10.0.0.9:50000", "tcp LISTEN web[7] root 0.0.0.0:80", "2 tcp CLOSE_WAIT ? - 10.0.0.1:80 10.0.0.9:50000"))
	if output, _ := replyTo(t, from, "--by", "process,direction"); textOf(output) != "web in: 3, ? in: 2, web listen: 1" {
		t.Errorf("got %s", output)
	}
}

func TestSpellingsOfAStatusAreOne(t *testing.T) {
	for spelling, want := range map[string]string{
		"close-wait": "CLOSE_WAIT", "Close Wait": "CLOSE_WAIT", "CLOSED": "CLOSE", "fin_wait_1": "FIN_WAIT1", "fin-wait 2": "FIN_WAIT2", "FIN WAIT 2": "FIN_WAIT2",
		"syn_rcvd": "SYN_RECV", "SYN RECEIVED": "SYN_RECV", "estab": "ESTABLISHED", "LISTENING": "LISTEN", "CloseWait": "CLOSE_WAIT", "SynReceived": "SYN_RECV", "finwait1": "FIN_WAIT1", "delete": "DELETE_TCB", "none": "NONE",
	} {
		if got, known := canonicalStatus(spelling); got != want || !known {
			t.Errorf("%s: got %s, %t", spelling, got, known)
		}
	}
	for spelling, want := range map[string]string{"new state": "NEW_STATE", "": "", "CLOSE_WAI": "CLOSE_WAI"} {
		if got, known := canonicalStatus(spelling); got != want || known {
			t.Errorf("%s: got %s, %t", spelling, got, known)
		}
	}
}
