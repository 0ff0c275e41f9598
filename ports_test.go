package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestEphemeralPortsLessTheReservedOnes(t *testing.T) {
	for _, test := range []struct {
		limits, reserved string
		size             int
		has, hasNot      uint32
		message          string
	}{
		{"32768\t60999", "", 28232, 32768, 32767, ""},
		{"40000 40099", "40010-40019", 90, 40020, 40010, ""},
		{"40000 40099", "1-39999,40000,40050-40060,50000", 88, 40001, 40000, ""},
		{"1 65535", "", 65535, 65535, 0, ""},
		{"40000", "", 1, 40000, 40001, ""},
		{"", "", 0, 0, 0, `net.ipv4.ip_local_port_range is no range: ""`},
		{"40000 many", "", 0, 0, 0, `net.ipv4.ip_local_port_range is no range: "40000 many"`},
		{"50000 40000", "", 0, 0, 0, `net.ipv4.ip_local_port_range is no range: "50000 40000"`},
		{"40000 40099", "40010-x", 0, 0, 0, `net.ipv4.ip_local_reserved_ports is no list of ports: "40010-x"`},
		{"40000 40099", "1-65535", 0, 0, 0, "net.ipv4.ip_local_port_range and net.ipv4.ip_local_reserved_ports leave no ephemeral ports"},
	} {
		space, err := parsePortSpace(test.limits, test.reserved)
		if test.message != "" {
			if err == nil || err.Error() != test.message {
				t.Errorf("%q, %q: got %v", test.limits, test.reserved, err)
			}
			continue
		}
		if err != nil || space.size() != test.size || !space.has(test.has) || space.has(test.hasNot) {
			t.Errorf("%q, %q: got %d, %v", test.limits, test.reserved, space.size(), err)
		}
	}
}

// from40020 returns as many sockets in the status, each with a port of its own.
func from40020(number int, kind, local, peer string) (lines []string) {
	for i := range number {
		lines = append(lines, fmt.Sprintf("%s - - %s:%d %s", kind, local, 40020+i, peer))
	}
	return lines
}

func TestEphemeralPortsTowardsTheFullestPeer(t *testing.T) {
	local := ephemeralPorts{0: {portRange: portRange{40000, 40099}, reserved: []portRange{{40010, 40019}}}}
	database := from40020(75, "tcp ESTABLISHED", "127.0.0.1", "127.0.0.1:5432")
	join := func(parts ...[]string) (all []string) {
		for _, list := range parts {
			all = append(all, list...)
		}
		return all
	}
	for _, test := range []struct {
		name    string
		sockets []string
		text    string
		percent string
	}{
		{"unused", nil, "0% of 90", "0"},
		{"80 percent", database[:72], "80% of 90 to 127.0.0.1:5432", "80"},
		{
			"fewer to another peer and from another address do not matter",
			join(from40020(10, "tcp ESTABLISHED", "127.0.0.1", "127.0.0.1:80"), from40020(10, "tcp ESTABLISHED", "127.0.0.2", "127.0.0.1:5432"), database),
			"83% of 90 to 127.0.0.1:5432 [WARNING]", "83.3",
		},
		{
			"whatever keeps a port",
			append(from40020(30, "tcp TIME_WAIT", "10.0.0.1", "10.0.0.5:80"), "tcp6 CLOSE_WAIT - - 10.0.0.1:40001 10.0.0.5:80", "tcp SYN_SENT - - 10.0.0.1:40002 10.0.0.5:80"),
			"35% of 90 to 10.0.0.5:80", "35.6",
		},
		{"IPv6", from40020(9, "tcp6 CLOSE_WAIT", "[fd00::1]", "[fd00::5]:443"), "10% of 90 to [fd00::5]:443", "10"},
		{
			"what keeps none", []string{
				"tcp SYN_RECV - - 10.0.0.1:40003 10.0.0.5:80", "tcp CLOSE - - 10.0.0.1:40004 10.0.0.5:80", "tcp ESTABLISHED - - 10.0.0.1:40010 10.0.0.5:80",
				"tcp ESTABLISHED - - 10.0.0.1:80 10.0.0.5:40001", "tcp LISTEN - - 0.0.0.0:80",
			}, "0% of 90", "0",
		},
		{"one port", []string{"tcp CLOSING - - 10.0.0.1:40002 10.0.0.7:80"}, "1% of 90 to 10.0.0.7:80", "1.1"},
		{
			"as many, by the name of the peer", []string{"tcp CLOSING - - 10.0.0.1:40002 10.0.0.7:80", "tcp CLOSING - - 10.0.0.1:40001 10.0.0.5:80"},
			"1% of 90 to 10.0.0.5:80", "1.1",
		},
		{"accepted by a service in the range", append(from40020(1, "tcp LISTEN", "0.0.0.0", "-"), "tcp ESTABLISHED - - 10.0.0.1:40020 10.0.0.5:50000", "tcp ESTABLISHED - - 10.0.0.1:40020 10.0.0.5:50001"), "1% of 90 for any peer", "1.1"},

		// Ports that bind() holds are gone for every peer.
		{"bound", from40020(45, "tcp BOUND", "0.0.0.0", "-"), "50% of 90 for any peer", "50"},
		{
			"bound ones, listeners and connections", join(from40020(18, "tcp BOUND", "0.0.0.0", "-"), from40020(27, "tcp LISTEN", "10.0.0.1", "-"), from40020(36, "tcp ESTABLISHED", "10.0.0.2", "10.0.0.5:80")),
			"70% of 90 to 10.0.0.5:80", "70", // 18 of the 27 are bound as well
		},
		{"never above 100 percent", join(from40020(60, "tcp BOUND", "0.0.0.0", "-"), from40020(60, "tcp ESTABLISHED", "10.0.0.2", "10.0.0.5:80")), "100% of 90 to 10.0.0.5:80 [WARNING]", "100"},
		{"one port, bound to two addresses", join(from40020(9, "tcp BOUND", "10.0.0.1", "-"), from40020(9, "tcp6 LISTEN", "[fd00::1]", "-")), "10% of 90 for any peer", "10"},

		// Sockets bound to different devices have ports of their own.
		{
			"two devices", []string{"tcp ESTABLISHED - - 10.0.0.1:40020 10.0.0.5:80 device=2", "tcp ESTABLISHED - - 10.0.0.1:40020 10.0.0.5:80 device=3"},
			"1% of 90 to 10.0.0.5:80", "1.1",
		},

		// UDP has ports of its own, whoever the peer is.
		{"UDP", append(from40020(18, "udp NONE", "10.0.0.1", "10.0.0.53:53"), from40020(18, "udp6 NONE", "[::]", "-")...), "20% of 90 for UDP", "20"},
		{"UDP and TCP", join(from40020(18, "udp NONE", "10.0.0.1", "-"), from40020(27, "tcp CLOSING", "10.0.0.1", "10.0.0.5:80")), "30% of 90 to 10.0.0.5:80", "30"},
	} {
		want := "[OK] - "
		if strings.Contains(test.text, "WARNING") {
			want = "[WARNING] - "
		}
		want += "ephemeral ports: " + test.text + "|ephemeral_ports=" + test.percent + "%;80;;0;100"
		if got := judgedLimit(t, local, socketsOf(test.sockets...), "80"); got != want {
			t.Errorf("%s: got  %s\nwant %s", test.name, got, want)
		}
	}
}

// The kernel takes the port of a connection in TIME_WAIT again, as
// net.ipv4.tcp_tw_reuse says.
func TestPortsInTimeWaitCanBeFree(t *testing.T) {
	const remote, loopback, loopback6 = "10.0.0.1:40000 10.0.0.5:80", "127.0.0.1:40000 127.0.0.1:80", "[::1]:40000 [::1]:80"
	for _, test := range []struct {
		reuse  int
		delay  time.Duration
		socket string
		isFree bool
	}{
		{0, time.Second, "tcp TIME_WAIT - - " + remote + " left=1s", false},
		{0, time.Second, "tcp TIME_WAIT - - " + loopback + " left=1s", false},
		{1, time.Second, "tcp TIME_WAIT - - " + remote + " left=1s", true},
		{1, time.Second, "tcp TIME_WAIT - - " + remote + " left=58.9s", true},
		{1, time.Second, "tcp TIME_WAIT - - " + remote + " left=59s", false}, // it must be longer
		{1, time.Second, "tcp TIME_WAIT - - " + remote + " left=60s", false},
		{1, 0, "tcp TIME_WAIT - - " + remote + " left=59.9s", true},
		{1, 10 * time.Second, "tcp TIME_WAIT - - " + remote + " left=55s", false},
		{1, 10 * time.Second, "tcp TIME_WAIT - - " + remote + " left=49s", true},
		{2, time.Second, "tcp TIME_WAIT - - " + remote + " left=1s", false},
		{2, time.Second, "tcp TIME_WAIT - - " + loopback + " left=1s", true},
		{2, time.Second, "tcp6 TIME_WAIT - - " + loopback6 + " left=1s", true},
		{2, time.Second, "tcp6 TIME_WAIT - - " + loopback + " left=1s", true}, // IPv4-mapped
		{2, time.Second, "tcp TIME_WAIT - - " + loopback + " left=60s", false},
		{1, time.Second, "tcp FIN_WAIT2 - - " + remote + " left=1s", false},
		{1, time.Second, "tcp ESTABLISHED - - " + remote, false},
	} {
		space := portSpace{portRange: portRange{40000, 40099}, reuse: test.reuse, delay: test.delay}
		if got := space.isFree(socketOf(test.socket)); got != test.isFree {
			t.Errorf("reuse %d after %s, %s: got %t", test.reuse, test.delay, test.socket, got)
		}
		percent := "1%"
		if test.isFree {
			percent = "0%"
		}
		if got := judgedLimit(t, ephemeralPorts{0: space}, socketsOf(test.socket), "80"); !strings.HasPrefix(got, "[OK] - ephemeral ports: "+percent+" of 100") {
			t.Errorf("reuse %d after %s, %s: got %s", test.reuse, test.delay, test.socket, got)
		}
	}
}

// Of several network namespaces the one counts whose ports are used up the most.
func TestFullestPortsOfSeveralNamespaces(t *testing.T) {
	local := ephemeralPorts{1: {name: "large", portRange: portRange{40000, 40099}}, 2: {name: "sm:all", portRange: portRange{40000, 40009}}}
	portsIn := func(id, number int) (from made) {
		for i := range number {
			from = append(from, socketOf(fmt.Sprintf("tcp ESTABLISHED - - 10.0.0.1:%d 10.0.0.5:80 space=%d", 40000+i, id)))
		}
		return from
	}
	held := made(socketsOf("tcp BOUND - - 0.0.0.0:40008 - space=2", "tcp BOUND - - 0.0.0.0:40009 - space=1"))
	for _, test := range []struct {
		from made
		want string
	}{
		{nil, "[OK] - ephemeral ports: 0% of 100 in large|ephemeral_ports=0%;70;;0;100"},
		{portsIn(1, 30), "[OK] - ephemeral ports: 30% of 100 to 10.0.0.5:80 in large|ephemeral_ports=30%;70;;0;100"},
		{append(portsIn(1, 60), portsIn(2, 8)...), "[WARNING] - ephemeral ports: 80% of 10 to 10.0.0.5:80 in sm_all [WARNING]|ephemeral_ports=80%;70;;0;100"},
		{append(portsIn(1, 90), portsIn(2, 8)...), "[WARNING] - ephemeral ports: 90% of 100 to 10.0.0.5:80 in large [WARNING]|ephemeral_ports=90%;70;;0;100"},
		{append(portsIn(2, 6), held...), "[OK] - ephemeral ports: 70% of 10 to 10.0.0.5:80 in sm_all|ephemeral_ports=70%;70;;0;100"},
		{portsIn(3, 90), "[OK] - ephemeral ports: 0% of 100 in large|ephemeral_ports=0%;70;;0;100"}, // nothing is known of it
	} {
		if got := judgedLimit(t, local, test.from, "70"); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestHoldersOfTheEphemeralPorts(t *testing.T) {
	local := ephemeralPorts{0: {portRange: portRange{40000, 40009}}}
	from := made(socketsOf(
		"tcp ESTABLISHED java[7] root 10.0.0.1:40000 10.0.0.5:80 idle=90s", "tcp ESTABLISHED java[7] root 10.0.0.1:40001 10.0.0.5:80 idle=30s",
		"tcp TIME_WAIT - - 10.0.0.1:40002 10.0.0.5:80", "tcp BOUND proxy[9] root 0.0.0.0:40003", "tcp LISTEN proxy[9] root 0.0.0.0:40004",
		"tcp ESTABLISHED other[8] root 10.0.0.1:40000 10.0.0.6:80", "udp NONE dns[6] root 10.0.0.1:40000", "tcp ESTABLISHED java[7] root 10.0.0.1:50000 10.0.0.5:80",
	))
	output, code := replyOf(t, withLimits(t, "ephemeral=40,1000", "ephemeral=60"), from, local)
	_, text, _ := strings.Cut(textOf(output), "udp NONE: 1, ")
	want := "ephemeral ports held by: java (root) 2; proxy (root) 2; no process 1\nephemeral ports peers: to 10.0.0.5:80 3\nephemeral ports idle: longest 1m, median 30s, 1 within the last minute"
	if text != "ephemeral ports: 50% of 10 to 10.0.0.5:80 [WARNING] (java 2)" || linesOf(output) != want || code != 1 {
		t.Errorf("got  %d %s\nwant %s", code, output, want)
	}
	output, _ = replyOf(t, withLimits(t, "ephemeral=5", ""), socketsOf("udp NONE dns[6] root 10.0.0.1:40000", "tcp BOUND proxy[9] root 0.0.0.0:50000"), local)
	if !strings.HasSuffix(textOf(output), "ephemeral ports: 10% of 10 for UDP [WARNING] (dns 1)") || linesOf(output) != "ephemeral ports held by: dns (root) 1" {
		t.Errorf("got %s", output)
	}
	output, _ = replyOf(t, withLimits(t, "ephemeral=5", ""), socketsOf("9 tcp TIME_WAIT - - 10.0.0.1:40002 10.0.0.5:80"), local)
	if linesOf(output) != "ephemeral ports peers: to 10.0.0.5:80 9" { // nobody can hold them
		t.Errorf("got %s", output)
	}
}
