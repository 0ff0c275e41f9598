package main

import (
	stdnet "net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A process is found by the name that the tools of its system show.
func TestShortNamesOfProcesses(t *testing.T) {
	for _, test := range []struct{ system, name, short, compared string }{
		{"linux", "very-long-process", "very-long-proce", "very-long-process"},
		{"linux", "Java.exe", "Java.exe", "Java.exe"},
		{"darwin", "very-long-process", "very-long-proce", "very-long-process"},
		{"windows", "Java.exe", "Java", "java"},
		{"windows", "SVCHOST.EXE", "SVCHOST", "svchost"},
		{"windows", "very-long-process", "very-long-process", "very-long-process"},
		{"windows", ".exe", ".exe", ".exe"},
		{"windows", "", "", ""},
	} {
		if short, compared := shortName(test.system, test.name), comparedName(test.system, test.name); short != test.short || compared != test.compared {
			t.Errorf("%s, %s: got %q, %q", test.system, test.name, short, compared)
		}
	}
}

func TestNamesWithBlanksAreFoundByTheirLabels(t *testing.T) {
	for name, typed := range map[string]string{"my app": "my_app", "+5 more": "+5_more", "a|b c": "a_b_c"} {
		for _, text := range []string{name, typed} {
			isName, err := nameMatcher(text)
			if err != nil || !isName(name) || isName(name+"x") {
				t.Errorf("%s is not found as %s (%v)", name, text, err)
			}
		}
	}
}

func TestUnitsAreFoundByTheirNames(t *testing.T) {
	if thisSystem != "linux" {
		t.Skip("only Linux has units")
	}
	for _, test := range []struct {
		filter, unit string
		want         answer
	}{
		{"tomcat9.service", "tomcat9.service", yes},
		{"tomcat9", "tomcat9.service", no},
		{"tomcat?.service", "tomcat9.service", yes},
		{"docker-*", "docker-3f2a1bc0d9e8", yes},
		{"not:docker-*", "docker-3f2a1bc0d9e8", no},
		{"not:docker-*", "tomcat9.service", yes},
		{"user@1000.service", "user@1000.service", yes},
		{`system-x\x2dy.slice`, `system-x\x2dy.slice`, yes},
		{"system-x_x2dy.slice", `system-x\x2dy.slice`, yes}, // as it is shown
		{"-", "-", yes},
		{"*", "-", no},
		{"not:-", "-", no},
		{"tomcat9.service", "?", maybe},
		{"not:tomcat9.service", "?", maybe},
		{"?", "?", yes},
		{"not:?", "?", no},
	} {
		if got := configOf(t, "--unit", test.filter).question.asks(socketOf("tcp LISTEN - - - - unit=" + test.unit)); got != test.want {
			t.Errorf("--unit %s, %s: got %d, want %d", test.filter, test.unit, got, test.want)
		}
	}
}

// A user is whoever has the id, by whatever name.
func TestUsersAreFoundByIDAndByEveryName(t *testing.T) {
	name, isKnown := userName(0)
	if !isKnown {
		t.Skip("no user has the id 0 on this system")
	}
	root, other := socketOf("tcp LISTEN web "+name), socketOf("tcp LISTEN web nobody")
	root.Uids, other.Uids = []int32{0}, []int32{4711}
	anotherName := socketOf("tcp LISTEN web toor") // the reader found another name for the id
	anotherName.Uids = []int32{0}
	for _, arguments := range []string{"0", "00", name, "0," + name} {
		selected := configOf(t, "--user", arguments).question
		for _, test := range []struct {
			*socket
			want answer
		}{{root, yes}, {anotherName, yes}, {other, no}, {socketOf("tcp TIME_WAIT"), no}, {socketOf("tcp LISTEN ? ?"), maybe}} {
			if got := selected.asks(test.socket); got != test.want {
				t.Errorf("--user %s, %s %v: got %d", arguments, test.user, test.Uids, got)
			}
		}
	}
}

var portGrammar = regexp.MustCompile(`^(!|not:|)([0-9]+)(?:-([0-9]+))?$`)

func FuzzPorts(f *testing.F) {
	for _, list := range []string{"80", "80,443", "8000-8100", "!22", "1-65535,!1024-65535", "0", "65536", "90-80", "http", "!", "", "80,", "-80", "80-", "+80", "00080", "8 0", "80 , !443", "99999999999999999999"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := parseFilter(byLocalPort, []string{list})
		var include, exclude [1 << 16]bool
		includesAny, ok := false, !strings.HasPrefix(list, " ")
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
				if parts[1] != "" {
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
			s := socketOf("tcp LISTEN")
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
		ok := !strings.HasPrefix(list, " ")
		for typed := range strings.SplitSeq(list, ",") {
			typed = strings.TrimSpace(typed)
			text, excluded := strings.CutPrefix(typed, "not:")
			if !excluded {
				text, excluded = strings.CutPrefix(typed, "!")
			}
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
			s := socketOf("tcp LISTEN")
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
