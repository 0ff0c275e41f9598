package main

import (
	"math"
	"strings"
	"testing"

	"github.com/NETWAYS/go-check"
)

func TestCriticalGoesBeforeWarning(t *testing.T) {
	config := configOf(t, "-w", "10", "-c", "20")
	for sockets, want := range map[string]check.Status{"10": check.OK, "11": check.Warning, "20": check.Warning, "21": check.Critical} {
		groups := groupsOf(config, socketsOf(sockets+" tcp LISTEN"))
		if len(groups) != 1 || groups[0].verdict != (verdict{want, want}) {
			t.Errorf("%s: got %v, want %s", sockets, groups, want)
		}
	}
}

// A number that is not known is judged at every point that it can have.
func TestIntervalsAreJudgedAtEveryPoint(t *testing.T) {
	texts := []string{"", "0", "3", "5:", "1:", "@2:3", "@12:13", "@10.2:10.8", "@0", "2:4", "~:7", "@~:1", "@7:", "2.5:3.5", "10:11", "1e308", "-5:-1"}
	judged := 0
	for _, warn := range texts {
		for _, crit := range texts {
			var levelsOf [2]*check.Threshold
			for i, text := range []string{warn, crit} {
				if threshold, err := parseRange(text); err == nil {
					levelsOf[i] = &threshold
				}
			}
			for low := range 14 {
				want := verdict{check.Unknown, check.OK}
				for high := low; high < 16; high++ {
					state := check.OK
					if ranges := levelsOf[0]; ranges != nil && ranges.DoesViolate(float64(high)) {
						state = check.Warning
					}
					if ranges := levelsOf[1]; ranges != nil && ranges.DoesViolate(float64(high)) {
						state = check.Critical
					}
					want = verdict{min(want.least, state), max(want.most, state)}
					if got := judge(levelsOf[0], levelsOf[1], low, high); got != want {
						t.Errorf("-w %s -c %s, %d to %d: got %v, want %v", warn, crit, low, high, got, want)
					}
					judged++
				}
			}
		}
	}
	if five, _ := parseRange("@500000000"); judge(&five, nil, 0, math.MaxInt32) != (verdict{check.OK, check.Warning}) || judged < 10000 {
		t.Errorf("%d intervals", judged)
	}
}

// Types and statuses that a threshold names are judged also where no socket has
// them. Of what is OK nothing is said.
func TestAbsentTypesAndStatusesAreJudged(t *testing.T) {
	for _, test := range []struct{ arguments, sockets, text, values string }{
		{"-c established=1:", "tcp LISTEN", "tcp LISTEN: 1, ESTABLISHED: 0 [CRITICAL]", "tcp_LISTEN=1 ESTABLISHED=0"},
		{"-c established=1:", "tcp6 ESTABLISHED", "tcp6 ESTABLISHED: 1", "tcp6_ESTABLISHED=1"},
		{"-c established=10", "tcp LISTEN", "tcp LISTEN: 1", "tcp_LISTEN=1"},
		{"-c udp=1:,close_wait=1:", "tcp LISTEN", "tcp LISTEN: 1, udp: 0 [CRITICAL], CLOSE WAIT: 0 [CRITICAL]", "tcp_LISTEN=1 udp=0 CLOSE_WAIT=0"},
		{"-w udp=1: -c close_wait=1:", "tcp LISTEN", "tcp LISTEN: 1, udp: 0 [WARNING], CLOSE WAIT: 0 [CRITICAL]", "tcp_LISTEN=1 udp=0 CLOSE_WAIT=0"},
		{"-c 5:,established=1:", "9 tcp LISTEN", "tcp LISTEN: 9, ESTABLISHED: 0 [CRITICAL]", "tcp_LISTEN=9 ESTABLISHED=0"},
		{"-c established=1:", "", "ESTABLISHED: 0 [CRITICAL]", "ESTABLISHED=0"},
		{"-c tcp=1:", "udp NONE", "udp NONE: 1, tcp: 0 [CRITICAL]", "udp_NONE=1 tcp=0"},
		{"-c tcp=1: --by status,type", "udp NONE", "NONE udp: 1, tcp: 0 [CRITICAL]", "NONE_udp=1 tcp=0"},
		{"-c established=1: --by status", "udp NONE", "NONE: 1, ESTABLISHED: 0 [CRITICAL]", "NONE=1 ESTABLISHED=0"},
		{"-c established=1:,tcp_established=1000", "udp NONE", "udp NONE: 1, tcp ESTABLISHED: 0, ESTABLISHED: 0 [CRITICAL]", "udp_NONE=1 tcp_ESTABLISHED=0 ESTABLISHED=0"},
		{"-c listen=1: --zero --conn-type tcp --conn-status listen,close", "", "tcp CLOSE: 0, tcp LISTEN: 0 [CRITICAL]", "tcp_CLOSE=0 tcp_LISTEN=0"},
		{"-c listen=1: --local-port 443", "tcp LISTEN web - 0.0.0.0:80", "LISTEN: 0 [CRITICAL]", "LISTEN=0"},
		{"-c tcp_listen=1:", "udp NONE", "udp NONE: 1, tcp LISTEN: 0 [CRITICAL]", "udp_NONE=1 tcp_LISTEN=0"},
		{"-c listen=1: --always-ok", "udp NONE", "udp NONE: 1, LISTEN: 0 [CRITICAL] (always ok)", "udp_NONE=1 LISTEN=0"},
	} {
		var from made
		if test.sockets != "" {
			from = socketsOf(test.sockets)
		}
		if output, _ := replyTo(t, from, strings.Fields(test.arguments)...); textOf(output) != test.text || valuesOf(output) != test.values {
			t.Errorf("%s: got  %swant %s|%s", test.arguments, output, test.text, test.values)
		}
	}
}

// A child that has inherited the sockets must not take them out of the group that
// a threshold names.
func TestThresholdOfAProgramHoldsForWhatItShares(t *testing.T) {
	for _, test := range []struct {
		arguments, sockets, text string
		code                     int
	}{
		{"-w java=10", "70 tcp CLOSE_WAIT java+worker", "java+worker: 70 [WARNING]", 1},
		{"-w worker=10", "70 tcp CLOSE_WAIT java+worker", "java+worker: 70 [WARNING]", 1},
		{"-c java=1:", "1 tcp LISTEN java+worker", "java+worker: 1", 0},
		{"-w java=10", "5 tcp CLOSE_WAIT java, 70 tcp CLOSE_WAIT java+worker", "java+worker: 70 [WARNING], java: 5", 1},
		{"-w java=10,java+worker=100", "70 tcp CLOSE_WAIT java+worker", "java+worker: 70", 0},
		{"-w javac=10", "70 tcp CLOSE_WAIT java+worker", "java+worker: 70, javac: 0", 0},
	} {
		output, code := replyTo(t, socketsOf(strings.Split(test.sockets, ", ")...), append(strings.Fields(test.arguments), "--by", "process", "--no-details", "--no-perfdata")...)
		if textOf(output) != test.text || code != test.code {
			t.Errorf("%s: got %d %s\nwant %d %s", test.arguments, code, output, test.code, test.text)
		}
	}
}

// Nothing found is OK with the flags of the check that this one replaces, and a
// line says so where the range alerts on 0. With flags of ours it is judged.
func TestNothingFoundIsOKOrJudged(t *testing.T) {
	const note = "0 sockets are not judged: name the group (tcp_listen=1:) or use --zero"
	const nothingFound = `No connections of type "all" in status `
	for _, test := range []struct {
		arguments, text, lines string
		code                   int
	}{
		{"", nothingFound + `"all" found.`, "", 0},
		{"-w 10 -c 20", nothingFound + `"all" found.`, "", 0},
		{"-c 1:", nothingFound + `"all" found.`, note, 0},
		{"-w @0", nothingFound + `"all" found.`, note, 0},
		{"-c 1: --conn-status listen", nothingFound + `"listen" found.`, note, 0},
		{"-c 1: --always-ok", nothingFound + `"all" found. (always ok)`, note, 0},
		{"-c 1: --conn-status listen --local-port 443", nothingFound + `"listen" with --local-port 443 found. [CRITICAL]`, "", 2},
		{"-w 1: --local-port 443", nothingFound + `"all" with --local-port 443 found. [WARNING]`, "", 1},
		{"-w 10 --local-port 443", nothingFound + `"all" with --local-port 443 found.`, "", 0},
		{"-c 1: --by process", nothingFound + `"all" found. [CRITICAL]`, "", 2},
		{"-c 1: --local-port 443 --always-ok", nothingFound + `"all" with --local-port 443 found. [CRITICAL] (always ok)`, "", 0},
		{"-c 1:,total=100", nothingFound + `"all" found. [CRITICAL], total: 0`, "", 2},
		{"-c 1:,close_wait=100", nothingFound + `"all" found. [CRITICAL]`, "", 2},
		{"--zero -c 1: --conn-type tcp --conn-status listen", "tcp LISTEN: 0 [CRITICAL]", "", 2},
	} {
		output, code := replyTo(t, nil, strings.Fields(test.arguments)...)
		if textOf(output) != test.text || linesOf(output) != test.lines || code != test.code {
			t.Errorf("%s: got  %d %swant %d %s\n%s", test.arguments, code, output, test.code, test.text, test.lines)
		}
	}
	if output, code := replyTo(t, socketsOf("tcp LISTEN"), "-c", "1:"); code != 0 || linesOf(output) != "" {
		t.Errorf("got %d %s", code, output)
	}
}

// What is not seen must neither make an OK of what could be a violation, nor a
// violation of what it could cure.
func TestHiddenSocketsCanMakeTheVerdictUnknown(t *testing.T) {
	const unknown = "hidden sockets could change the result"
	for _, test := range []struct {
		arguments, sockets string
		want               string // the first line without performance data, or the reason
		code               int
	}{
		// Sockets that may belong to a group that is seen, or to others.
		{"-w 10", "9 ESTABLISHED web", "web ESTABLISHED: 9", 0},
		{"-w 10", "9 ESTABLISHED web, 1 ESTABLISHED ?", "web ESTABLISHED: 9, ? ESTABLISHED: 1", 0},
		{"-w 10", "9 ESTABLISHED web, 2 ESTABLISHED ?", unknown, 3},
		{"-c 10", "9 ESTABLISHED web, 2 ESTABLISHED ?", unknown, 3},
		{"-w 10", "9 ESTABLISHED web, 11 ESTABLISHED ?", unknown, 3}, // all of one, or one of each
		{"-w 10", "11 ESTABLISHED web, 5 ESTABLISHED ?", "web ESTABLISHED: 11 [WARNING], ? ESTABLISHED: 5", 1},
		{"-w 10 -c 20", "11 ESTABLISHED web, 10 ESTABLISHED ?", unknown, 3},
		{"-w 10 -c 20", "11 ESTABLISHED web, 9 ESTABLISHED ?", "web ESTABLISHED: 11 [WARNING], ? ESTABLISHED: 9", 1},
		{"-w 10 -c 20", "21 ESTABLISHED web, 15 ESTABLISHED ?", "web ESTABLISHED: 21 [CRITICAL], ? ESTABLISHED: 15", 2},
		{"", "9 ESTABLISHED web, 1000 ESTABLISHED ?", "? ESTABLISHED: 1000, web ESTABLISHED: 9", 0},
		{"-w 10", "9 ESTABLISHED web, 5 LISTEN ?", "web ESTABLISHED: 9, ? LISTEN: 5", 0}, // in another status
		{"-w 5:", "9 ESTABLISHED web, 6 ESTABLISHED ?", unknown, 3},                      // one of the others may have less
		{"-w 1:", "9 ESTABLISHED web, 6 ESTABLISHED ?", "web ESTABLISHED: 9, ? ESTABLISHED: 6", 0},
		{"-w @12:13", "9 ESTABLISHED web, 2 ESTABLISHED ?", "web ESTABLISHED: 9, ? ESTABLISHED: 2", 0},
		{"-w @12:13", "9 ESTABLISHED web, 3 ESTABLISHED ?", unknown, 3},
		{"-w @2:3", "9 ESTABLISHED web, 5 ESTABLISHED ?", unknown, 3},
		{"-w @10.2:10.8", "9 ESTABLISHED web, 5 ESTABLISHED ?", "web ESTABLISHED: 9, ? ESTABLISHED: 5", 0}, // no number of sockets
		{"-w 0", "2 ESTABLISHED ?", "? ESTABLISHED: 2 [WARNING]", 1},                                       // whoever has them
		{"-w 10:", "20 ESTABLISHED web, 6 ESTABLISHED ?", unknown, 3},                                      // all of one
		{"-w 10:", "6 ESTABLISHED ?", "? ESTABLISHED: 6 [WARNING]", 1},
		{"-w 5:", "3 ESTABLISHED web, 10 ESTABLISHED ?", unknown, 3},
		{"-w 5:", "3 ESTABLISHED web, 1 ESTABLISHED ?", "web ESTABLISHED: 3 [WARNING], ? ESTABLISHED: 1", 1},

		// Hidden processes hold none of the sockets that nobody holds.
		{"-w 10:", "12 TIME_WAIT -, 5 TIME_WAIT ?", "? TIME WAIT: 5 [WARNING], - TIME WAIT: 12", 1},
		{"-w 13", "12 CLOSE -, 5 CLOSE ?", "- CLOSE: 12, ? CLOSE: 5", 0},
		{"-w -_close=13", "12 CLOSE -, 5 CLOSE ?", "- CLOSE: 12, ? CLOSE: 5", 0},
		{"-w -_close=13:", "12 CLOSE -, 5 CLOSE ?", "- CLOSE: 12 [WARNING], ? CLOSE: 5", 1},

		// Groups that are named.
		{"-w web_established=5,db_established=50", "9 ESTABLISHED ?, 7 ESTABLISHED web", "web ESTABLISHED: 7 to 16 [WARNING], ? ESTABLISHED: 9, db ESTABLISHED: 0 to 9", 1},
		{"-w web_established=50", "7 ESTABLISHED web", "web ESTABLISHED: 7", 0},
		{"-w web_established=50", "7 ESTABLISHED web, 2 ESTABLISHED ?, 3 LISTEN ?", "web ESTABLISHED: 7 to 9, ? LISTEN: 3, ? ESTABLISHED: 2", 0},
		{"-w web_established=5:", "3 ESTABLISHED web, 10 ESTABLISHED ?", unknown, 3},
		{"-w web_established=5:", "5 ESTABLISHED web, 10 ESTABLISHED ?", "? ESTABLISHED: 10, web ESTABLISHED: 5 to 15", 0},
		{"-w web_established=5:", "10 ESTABLISHED ?", unknown, 3},
		{"-w web_established=20", "10 ESTABLISHED ?", "? ESTABLISHED: 10, web ESTABLISHED: 0 to 10", 0},
		{"-w 100,web_established=10", "9 ESTABLISHED web, 2 ESTABLISHED ?", unknown, 3},
		{"-w 100,web_listen=10", "9 ESTABLISHED web, 2 ESTABLISHED ?", "web ESTABLISHED: 9, ? ESTABLISHED: 2, web LISTEN: 0", 0},
		{"-w ?_established=5", "9 ESTABLISHED web, 6 ESTABLISHED ?", "? ESTABLISHED: 6 [WARNING], web ESTABLISHED: 9", 1},

		// The total is known, whoever has the sockets.
		{"-w total=100", "9 ESTABLISHED web, 50 ESTABLISHED ?", "? ESTABLISHED: 50, web ESTABLISHED: 9, total: 59", 0},
		{"-w total=50", "9 ESTABLISHED web, 50 ESTABLISHED ?", "? ESTABLISHED: 50, web ESTABLISHED: 9, total: 59 [WARNING]", 1},
		{"-w total=50 -c 20", "9 ESTABLISHED web, 50 ESTABLISHED ?", unknown, 3},
		{"-w 5: --always-ok", "3 ESTABLISHED web, 10 ESTABLISHED ?", "? ESTABLISHED: 10, web ESTABLISHED: 3 (always ok)", 0},

		// More than one value can be hidden.
		{"--by process,user -w 14", "3 LISTEN web root, 4 LISTEN web ?, 5 LISTEN ? root, 2 LISTEN ? ?", "? root: 5, web ?: 4, web root: 3, ? ?: 2", 0},
		{"--by process,user -w 13", "3 LISTEN web root, 4 LISTEN web ?, 5 LISTEN ? root, 2 LISTEN ? ?", unknown, 3},
		{"--by process,user -w web_root=10", "3 LISTEN web root, 4 LISTEN web ?, 5 LISTEN db ?, 2 LISTEN ? ?", "db ?: 5, web ?: 4, web root: 3 to 9, ? ?: 2", 0},
		{"--by process,user -w web_root=8", "3 LISTEN web root, 4 LISTEN web ?, 5 LISTEN db ?, 2 LISTEN ? ?", unknown, 3},
		{"--by user -w 5:", "3 LISTEN ? root, 9 LISTEN ? ?", unknown, 3},

		// With a filter they may count or not.
		{"--process web", "3 LISTEN web, 10 LISTEN ?", "web LISTEN: 3, ? LISTEN: 0 to 10", 0},
		{"--by process,status --process web --top 1", "3 LISTEN web, 10 LISTEN ?", "web LISTEN: 3 (+1 more: 0 to 10)", 0},
		{"--by status --process web", "3 LISTEN web, 10 LISTEN ?", "LISTEN: 3 to 13", 0},
		{"--by status --process web -w 13", "3 LISTEN web, 10 LISTEN ?", "LISTEN: 3 to 13", 0},
		{"--by status --process web -w 12", "3 LISTEN web, 10 LISTEN ?", unknown, 3},
		{"--by status --process web -w 5:", "3 LISTEN web, 10 LISTEN ?", unknown, 3},
		{"--by status --process web -w 2", "3 LISTEN web, 10 LISTEN ?", "LISTEN: 3 to 13 [WARNING]", 1},
		{"--by status --process web -w 2:", "3 LISTEN ?, 1 CLOSE ?", unknown, 3}, // nothing, one of them, or both
		{"--by status --process web -w 1:", "3 LISTEN ?, 1 CLOSE ?", unknown, 3},
		{"--by status --process web -w total=13", "3 LISTEN web, 10 LISTEN ?", "LISTEN: 3 to 13, total: 3 to 13", 0},
		{"--by status --process web -w total=12", "3 LISTEN web, 10 LISTEN ?", unknown, 3},
		{"--by status --process web -w total=2", "3 LISTEN web, 10 LISTEN ?", "LISTEN: 3 to 13, total: 3 to 13 [WARNING]", 1},
		{"--by status --process web -w 100,listen=1:", "3 LISTEN web, 10 LISTEN ?", "LISTEN: 3 to 13", 0},
		{"--by status --process web -c listen=1:", "10 LISTEN ?", unknown, 3},
		{"--by status --process web -w 10", "10 LISTEN ?", "LISTEN: 0 to 10", 0},
		{"--by status --process web -w 9", "10 LISTEN ?", unknown, 3},
		{"--by status --process web -w 20:", "10 LISTEN ?", "LISTEN: 0 to 10 [WARNING]", 1}, // also where there is no such group
		{"--by process,status --process web -w 13", "3 LISTEN web, 10 LISTEN ?", "web LISTEN: 3, ? LISTEN: 0 to 10", 0},
		{"--by process,status --process web -w 12", "3 LISTEN web, 10 LISTEN ?", unknown, 3},
		{"--by status --process !web -w 9", "10 LISTEN ?", unknown, 3},
		{"--by status --process web", "10 LISTEN ?", "--process finds nothing for certain", 3}, // and nothing is judged
		{"--by status --process ?", "3 LISTEN web, 10 LISTEN ?", "LISTEN: 10", 0},
		{"--by status --process web,? -w 12", "3 LISTEN web, 10 LISTEN ?", "LISTEN: 13 [WARNING]", 1},
		{"--by status --process web -w 9", "3 LISTEN web, 50 TIME_WAIT -", "LISTEN: 3", 0}, // nobody has these
	} {
		t.Run(test.arguments+" "+test.sockets, func(t *testing.T) {
			var lines []string
			for line := range strings.SplitSeq(test.sockets, ", ") {
				number, rest, _ := strings.Cut(line, " ")
				lines = append(lines, number+" tcp "+rest)
			}
			arguments := append(strings.Fields(test.arguments), "--no-details")
			if arguments[0] != "--by" {
				arguments = append(arguments, "--by", "process,status")
			}
			output, code := replyTo(t, socketsOf(lines...), arguments...)
			reason, _, _ := strings.Cut(textOf(output), ":")
			if got := textOf(output); code != test.code || got != test.want && (code != 3 || reason != test.want) {
				t.Errorf("got  %d %swant %d %s", code, output, test.code, test.want)
			}
		})
	}
}

// A recording has the processes of no socket, and often not more than types and
// statuses.
func TestRecordingsWithoutOwnersAreJudgedAsFarAsTheyGo(t *testing.T) {
	const unknown = "[UNKNOWN] - hidden sockets could change the result: "
	const notNamed = "the recording does not name the processes of 22 sockets (?)"
	for _, test := range []struct{ recording, arguments, want string }{
		{"leaking-server", "--by process -w 30", "[OK] - ?: 22, -: 4"},
		{"leaking-server", "--by process -w 10", unknown + notNamed},
		{"leaking-server", "--by process -w 5:", "[WARNING] - -: 4 [WARNING], ?: 22"}, // hidden processes hold none of those,
		{"leaking-server", "--by process -w java=30", "[OK] - ?: 22, -: 4, java: 0 to 22"},
		{"leaking-server", "--by process -w java=5", unknown + notNamed},
		{"leaking-server", "--by process -w ?=5", "[WARNING] - ?: 22 [WARNING], -: 4"},
		{"leaking-server", "--process java", "[UNKNOWN] - --process finds nothing for certain: " + notNamed},
		{"leaking-server", "--process !java", "[OK] - tcp TIME WAIT: 4, tcp CLOSE WAIT: 0 to 8, tcp ESTABLISHED: 0 to 5, tcp LISTEN: 0 to 1, tcp6 ESTABLISHED: 0 to 5, tcp6 LISTEN: 0 to 1, udp NONE: 0 to 2"},
		{"leaking-server", "--process java -c total=22 --by type", "[OK] - tcp: 0 to 14, tcp6: 0 to 6, udp: 0 to 2, total: 0 to 22"},
		{"leaking-server", "--process java -c total=21", unknown + notNamed},
		{"leaking-server", "--user 101", "[OK] - udp NONE: 2"},
		{"leaking-server", "--user 101 -w tcp_time_wait=3", "[OK] - udp NONE: 2, tcp TIME WAIT: 0"},
		{"small-server", "--user 1000", "[UNKNOWN] - --user finds nothing for certain: the users of 58 sockets are not known from this source"},
		{"small-server", "--local-port 443", "[UNKNOWN] - --local-port finds nothing for certain: the recording does not carry the ports and addresses of 59 sockets"},
		{"small-server", "--local-port !443", "[UNKNOWN] - --local-port finds nothing for certain: the recording does not carry the ports and addresses of 59 sockets"},
		{"small-server", "--local-address 10.0.0.0/8", "[UNKNOWN] - --local-address finds nothing for certain: the recording does not carry the ports and addresses of 59 sockets"},
		{"small-server", "--remote-port 443", "[UNKNOWN] - --remote-port finds nothing for certain: the recording does not carry the ports and addresses of 59 sockets"},
		{"small-server", "--remote-address !10.0.0.0/8", "[UNKNOWN] - --remote-address finds nothing for certain: the recording does not carry the ports and addresses of 59 sockets"},
		{"small-server", "--remote-address !10.0.0.0/8 --conn-type tcp6 -w 4", "[OK] - tcp6 CLOSE WAIT: 0 to 1, tcp6 LISTEN: 0 to 4"},
		{"small-server", "--remote-address !10.0.0.0/8 --conn-type tcp6 -w 3", unknown + "the recording does not carry the ports and addresses of 5 sockets"},
	} {
		output, _ := reply(append(strings.Fields(test.arguments), "--no-perfdata", "--no-details", "--test", "testdata/"+test.recording+".json")...)
		if output != test.want+"\n" {
			t.Errorf("%s %s: got  %swant %s", test.recording, test.arguments, output, test.want)
		}
	}
}
