package main

import (
	stdnet "net"
	"regexp"
	"slices"
	"strconv"
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

		{"--conn-type tcp", one, no},
		{"--conn-type tcp,tcp6 --conn-status close-wait", one, yes},
		{"--conn-status listen", one, no},
		{"--conn-status listen --process java", "tcp CLOSE ?", no},
	} {
		question := configOf(t, strings.Fields(test.arguments)...).Question
		if got := question.asks(socket(test.line)); got != test.want {
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

// A user is whoever has the id, by whatever name.
func TestUsersAreFoundByIDAndByEveryName(t *testing.T) {
	name, isKnown := userName(0)
	if !isKnown {
		t.Skip("no user has the id 0 on this system")
	}
	root, other := socket("tcp LISTEN web "+name), socket("tcp LISTEN web nobody")
	root.Uids, other.Uids = []int32{0}, []int32{4711}
	anotherName := socket("tcp LISTEN web toor") // the reader found another name for the id
	anotherName.Uids = []int32{0}
	for _, arguments := range []string{"0", "00", name, "0," + name} {
		question := configOf(t, "--user", arguments).Question
		for _, test := range []struct {
			*Socket
			want answer
		}{{root, yes}, {anotherName, yes}, {other, no}, {socket("tcp TIME_WAIT"), no}, {socket("tcp LISTEN ? ?"), maybe}} {
			if got := question.asks(test.Socket); got != test.want {
				t.Errorf("--user %s, %s %v: got %d", arguments, test.User, test.Uids, got)
			}
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
		{"darwin", "--conn-type tcp", 9, "tcp CLOSE"}, // lsof lists neither TIME_WAIT nor SYN_RECV
	} {
		question := configOf(t, strings.Fields(test.arguments)...).Question
		ofType, status, _ := strings.Cut(test.has, " ")
		if all := question.kinds(statusesOf(test.system)); len(all) != test.kinds || !slices.Contains(all, kind{ofType, status}) {
			t.Errorf("%s %s: got %v", test.system, test.arguments, all)
		}
	}
}

func TestIdleConnectionsOnly(t *testing.T) {
	if thisSystem != "linux" {
		t.Skip("idle times are only known on Linux")
	}
	question := configOf(t, "--min-idle", "5s").Question
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
		s := socket(test.line)
		s.Idle = time.Duration(test.seconds * float64(time.Second))
		if got := question.asks(s); got != test.want {
			t.Errorf("%s for %g s: got %d", test.line, test.seconds, got)
		}
	}
}

var portGrammar = regexp.MustCompile(`^(!?)([0-9]+)(?:-([0-9]+))?$`)

func FuzzPorts(f *testing.F) {
	for _, list := range []string{"80", "80,443", "8000-8100", "!22", "1-65535,!1024-65535", "0", "65536", "90-80", "http", "!", "", "80,", "-80", "80-", "+80", "00080", "8 0", "80 , !443", "99999999999999999999"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := parseFilter(byLocalPort, []string{list})
		var include, exclude [1 << 16]bool
		includesAny, ok := false, true
		for typed := range strings.SplitSeq(list, ",") {
			parts := portGrammar.FindStringSubmatch(strings.TrimSpace(typed))
			if parts == nil {
				ok = false
				break
			}
			if parts[3] == "" {
				parts[3] = parts[2]
			}
			first, err1 := strconv.Atoi(parts[2])
			last, err2 := strconv.Atoi(parts[3])
			if err1 != nil || err2 != nil || first < 1 || last > 65535 || first > last {
				ok = false
				break
			}
			for port := first; port <= last; port++ {
				if parts[1] == "!" {
					exclude[port] = true
				} else {
					include[port], includesAny = true, true
				}
			}
		}
		if (err == nil) != ok {
			t.Fatalf("got %v, the rules say %t", err, ok)
		}
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
			return
		}
		for _, port := range []int{1, 2, 22, 80, 443, 1023, 1024, 8000, 8050, 8100, 8101, 32768, 65534, 65535} {
			want := (!includesAny || include[port]) && !exclude[port]
			s := socket("tcp LISTEN")
			if s.Laddr.Port = uint32(port); (got.asks(s) == yes) != want {
				t.Errorf("%d: want %t", port, want)
			}
		}
	})
}

func FuzzAddresses(f *testing.F) {
	for _, list := range []string{
		"10.0.0.5", "10.0.0.0/8", "!127.0.0.0/8,::1", "fd00::/8", "::ffff:10.0.0.5", "::ffff:10.0.0.0/104", "::/0", "0.0.0.0/0,!10.0.0.5", "::ffff:0:0/95", "fe80::1%eth0",
		"10.0.0.256", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "010.0.0.1", "1.2.3", "", "!", ",", "localhost", "2001:db8::1/64",
	} {
		f.Add(list, "10.0.0.5")
	}
	f.Add("fd00::/8", "fd00::1%eth0")
	f.Add("::ffff:10.0.0.0/104", "::ffff:10.0.0.5")
	f.Fuzz(func(t *testing.T, list, address string) {
		got, err := parseFilter(byLocalAddress, []string{list})
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
		}
		var include, exclude []*stdnet.IPNet
		ok := true
		for typed := range strings.SplitSeq(list, ",") {
			text, excluded := strings.CutPrefix(strings.TrimSpace(typed), "!")
			network := parseIPNet(text)
			switch {
			case network == nil:
				ok = false
			case excluded:
				exclude = append(exclude, network)
			default:
				include = append(include, network)
			}
		}
		if (err == nil) != ok {
			t.Fatalf("got %v, the net package says %t", err, ok)
		}
		if err != nil {
			return
		}
		for _, text := range []string{address, "10.0.0.5", "10.255.255.255", "127.0.0.1", "0.0.0.0", "::ffff:10.0.0.5", "::1", "::", "fd00::1", "2001:db8::5", "fe80::1"} {
			ip := stdnet.ParseIP(text)
			if ip == nil {
				continue // zones, and what no system has as an address
			}
			has := func(networks []*stdnet.IPNet) bool {
				return slices.ContainsFunc(networks, func(n *stdnet.IPNet) bool { return n.Contains(ip) })
			}
			want := (len(include) == 0 || has(include)) && !has(exclude)
			s := socket("tcp LISTEN")
			if s.Laddr.IP = usualText(text); (got.asks(s) == yes) != want {
				t.Errorf("%s: want %t", text, want)
			}
		}
	})
}

// parseIPNet reads an address or a network, nil where it is neither. A length
// has no zeros in front, which the net package takes.
func parseIPNet(text string) *stdnet.IPNet {
	if ip := stdnet.ParseIP(text); ip != nil {
		return &stdnet.IPNet{IP: ip, Mask: stdnet.CIDRMask(128, 128)}
	}
	_, network, err := stdnet.ParseCIDR(text)
	if _, length, _ := strings.Cut(text, "/"); err != nil || len(length) > 1 && length[0] == '0' {
		return nil
	}
	return network
}
