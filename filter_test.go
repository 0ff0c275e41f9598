package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFilters(t *testing.T) {
	const one = "tcp6 CLOSE_WAIT java[4711] www-data 10.0.0.1:8080 10.0.0.9:50000"
	for _, test := range []struct {
		arguments, line string
		want            answer
	}{
		{"--process java", one, yes},
		{"--process JAVA", one, no},
		{"--process web,java", one, yes},
		{"--process !java", one, no},
		{"--process !web", one, yes},
		{"--process java,!java", one, no},
		{"--process very-long-proce", "tcp LISTEN very-long-process", yes}, // as ss -p shows it
		{"--process very-long-proc", "tcp LISTEN very-long-process", no},
		{"--process kworker/0_1", "tcp LISTEN kworker/0:1", yes}, // as this check shows it
		{"--process kworker/0:1", "tcp LISTEN kworker/0:1", yes},
		{"--process java", "tcp LISTEN ?", maybe},
		{"--process !java", "tcp LISTEN ?", maybe},
		{"--process ?", "tcp LISTEN ?", yes},
		{"--process ?", one, no},
		{"--process java,?", "tcp LISTEN ?", yes},
		{"--process !?", "tcp LISTEN ?", no},
		{"--process !?", one, yes},
		{"--process -", "tcp TIME_WAIT", yes},
		{"--process -", "tcp LISTEN ?", no},
		{"--process !-", "tcp TIME_WAIT", no},
		{"--process java", "tcp TIME_WAIT", no},
		{"--process java --local-port 1", "tcp LISTEN ? - 0.0.0.0:80", no},
		{"--process java --local-port 80", "tcp LISTEN ? - 0.0.0.0:80", maybe},

		{"--local-port 8080", one, yes},
		{"--local-port 53,8000-8080", one, yes},
		{"--local-port !8080", one, no},
		{"--local-port 8000-8100,!8081", one, yes},
		{"--local-port 8000-8100 --local-port !8080", one, no},
		{"--local-port 8080", "tcp LISTEN - - ?", maybe},
		{"--local-port !8080", "tcp LISTEN - - ?", maybe},
		{"--remote-port 50000", one, yes},
		{"--remote-port !443", one, yes},
		{"--remote-port !443", "tcp LISTEN - - 0.0.0.0:80", no}, // there is no peer
		{"--remote-port 443", "tcp ESTABLISHED - - 10.0.0.1:80 ?", maybe},
		{"--local-address 10.0.0.0/8", one, yes},
		{"--local-address 10.0.0.2", one, no},
		{"--local-address ::ffff:10.0.0.1", one, yes},
		{"--local-address ::ffff:10.0.0.0/104", one, yes},
		{"--local-address 0.0.0.0", "tcp LISTEN - - [*]:80", yes}, // of lsof
		{"--local-address fd00::/8,::", "tcp6 LISTEN - - [::]:80", yes},
		{"--remote-address !10.0.0.0/8", one, no},
		{"--remote-address !10.0.0.0/8", "tcp LISTEN - - 0.0.0.0:80", no},

		// not: excludes as ! does, which NRPE and Nagios take for themselves.
		{"--process not:java", one, no},
		{"--process not:web", one, yes},
		{"--local-port 8000-8100,not:8080", one, no},
		{"--remote-address not:10.0.0.0/8", one, no},
		{"--conn-status not:listen", one, yes},
		{"--conn-status not:close_wait", one, no},
		{"--conn-status !close-wait", one, no},
		{"--conn-type not:tcp6", one, no},

		// * and ? stand for what they do in a shell.
		{"--process ja*", one, yes},
		{"--process *", one, yes},
		{"--process j?va", one, yes},
		{"--process j?a", one, no},
		{"--process *av", one, no},
		{"--process not:j*", one, no},
		{"--process J*", one, no},
		{"--process a.c*", "tcp LISTEN abc", no}, // nothing else does
		{"--process kworker/*:1", "tcp LISTEN kworker/0:1", yes},
		{"--process kworker/?_1", "tcp LISTEN kworker/0:1", yes},
		{"--process *", "tcp LISTEN ?", maybe},
		{"--process *", "tcp TIME_WAIT", no},
		{"--user www-*", one, yes},
		{"--user WWW-*", one, yes},
		{"--user ???-data", one, yes},
		{"--user web*", one, no},
		{"--user *", "tcp LISTEN web ?", maybe},

		// Several processes hold it.
		{"--process helper", "tcp LISTEN helper[5]+java[9]", yes},
		{"--process java", "tcp LISTEN helper[5]+java[9]", yes},
		{"--process helper+java", "tcp LISTEN helper[5]+java[9]", yes}, // as it is shown
		{"--process hel*", "tcp LISTEN helper[5]+java[9]", yes},
		{"--process web", "tcp LISTEN helper[5]+java[9]", no},
		{"--process not:helper", "tcp LISTEN helper[5]+java[9]", no},
		{"--process very-long-proce", "tcp LISTEN helper[5]+very-long-process[9]", yes},

		{"--direction in", one + " direction=in", yes},
		{"--direction IN,listen", one + " direction=in", yes},
		{"--direction out", one + " direction=in", no},
		{"--direction not:in", one + " direction=in", no},
		{"--direction not:in", one + " direction=out", yes},
		{"--direction listen", "tcp LISTEN web - 0.0.0.0:80 - direction=listen", yes},
		{"--direction -", "udp NONE web - 0.0.0.0:80 - direction=-", yes},
		{"--direction in,out,listen", "udp NONE web - 0.0.0.0:80 - direction=-", no},

		{"--conn-type tcp", one, no},
		{"--conn-type tcp,tcp6 --conn-status close-wait", one, yes},
		{"--conn-status listen", one, no},
		{"--conn-status listen --process java", "tcp CLOSE ?", no},
	} {
		selected := configOf(t, strings.Fields(test.arguments)...).question
		if got := selected.asks(socketOf(test.line)); got != test.want {
			t.Errorf("%s, %s: got %d, want %d", test.arguments, test.line, got, test.want)
		}
	}
}

func TestFiltersOnARecording(t *testing.T) {
	for _, test := range []struct{ arguments, text string }{
		{"--local-port 8080", "tcp CLOSE WAIT: 8, tcp LISTEN: 1"},
		{"--local-port 53,443,40000-40003", "tcp ESTABLISHED: 4, tcp6 ESTABLISHED: 2, tcp6 LISTEN: 1, udp NONE: 1"},
		{"--remote-port !5432 --conn-type tcp", "tcp CLOSE WAIT: 8"},
		{"--remote-address 10.0.0.0/29", "tcp ESTABLISHED: 5, tcp TIME WAIT: 4"},
		{"--local-address fd00::2,::", "tcp6 ESTABLISHED: 3, tcp6 LISTEN: 1"},
		{"--user 1000 --conn-status listen", "tcp LISTEN: 1"},
		{"--user !1000 --conn-status listen", "tcp6 LISTEN: 1"},
		{"--local-port 40000-50000 --remote-port 5432 --remote-address 10.0.0.5 --user 1000 --conn-type tcp --conn-status established", "tcp ESTABLISHED: 5"},
		{"--process ? --conn-type tcp6", "tcp6 ESTABLISHED: 5, tcp6 LISTEN: 1"},
	} {
		if output, code := reply(append(strings.Fields(test.arguments), "--test", "testdata/leaking-server.json")...); code != 0 || textOf(output) != test.text {
			t.Errorf("%s: got  %d %swant %s", test.arguments, code, output, test.text)
		}
	}
}

// What the kernel is asked for must hold all that counts.
func TestFiltersOnPortsAndAddressesGoDownToTheReader(t *testing.T) {
	for _, test := range []struct{ arguments, want string }{
		{"", ""},
		{"--process java", ""},
		{"--local-port 443,8000-8100", "local [{443 443} {8000 8100}] []"},
		{"--local-port not:443", ""},
		{"--local-port 8000-8100,not:8080 --remote-port 443", "local [{8000 8100}] [], remote [{443 443}] []"},
		{"--local-address 10.0.0.0/8,fd00::1", "local [] [10.0.0.0/8 fd00::1/128]"},
		{"--remote-address ::ffff:10.0.0.5 --user 0", "remote [] [10.0.0.5/32]"},
	} {
		var texts []string
		for _, b := range configOf(t, strings.Fields(test.arguments)...).question.bounds(0) {
			end := map[bool]string{false: "local", true: "remote"}[b.isRemote]
			texts = append(texts, fmt.Sprint(end, " ", b.ports, " ", b.networks))
		}
		if got := strings.Join(texts, ", "); got != test.want {
			t.Errorf("%s: got %s", test.arguments, got)
		}
	}
}

func TestZeroReportsWhatTheSystemCanHave(t *testing.T) {
	for _, test := range []struct {
		system, arguments string
		kinds             int
		has               string
	}{
		{"linux", "", 24, "tcp LISTEN"}, // 11 statuses of TCP twice, and UDP twice
		{"windows", "--conn-type tcp", 12, "tcp DELETE_TCB"},
		{"linux", "--conn-type tcp", 11, "tcp SYN_RECV"},
		{"linux", "--conn-type udp6,tcp --conn-status none,listen", 2, "udp6 NONE"},
		{"darwin", "--conn-type tcp", 7, "tcp CLOSE"}, // lsof lists only those that a process holds
	} {
		selected := configOf(t, strings.Fields(test.arguments)...).question
		ofType, status, _ := strings.Cut(test.has, " ")
		if all := selected.kinds(statusesOf(test.system)); len(all) != test.kinds || !slices.Contains(all, typeStatus{ofType, status}) {
			t.Errorf("%s %s: got %v", test.system, test.arguments, all)
		}
	}
}

func TestIdleConnectionsOnly(t *testing.T) {
	if thisSystem != "linux" {
		t.Skip("idle times are only known on Linux")
	}
	selected := configOf(t, "--min-idle", "5s").question
	for _, test := range []struct {
		line    string
		seconds float64
		want    answer
	}{
		{"tcp ESTABLISHED", 5, yes},
		{"tcp6 CLOSE_WAIT", 90, yes},
		{"tcp ESTABLISHED", 4.999, no},
		{"tcp FIN_WAIT2", -1, no}, // the kernel keeps no times of it
		{"tcp LISTEN", 90, no},
		{"tcp TIME_WAIT", 90, no},
		{"udp NONE", 90, no},
	} {
		s := socketOf(test.line)
		s.idle = time.Duration(test.seconds * float64(time.Second))
		if got := selected.asks(s); got != test.want {
			t.Errorf("%s for %g s: got %d", test.line, test.seconds, got)
		}
	}
}
