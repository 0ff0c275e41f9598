package main

import (
	"fmt"
	"strings"
	"testing"
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

// judgedPorts returns the text and the performance data of the limit.
func judgedPorts(t *testing.T, ports ephemeralPorts, from made, ranges string) string {
	t.Helper()
	warning, err := parseThresholds([]string{ephemeralGroup + "=" + ranges}, grouping{byType}, func(string, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	counted := newCounter([]*tally{ports.tally()})
	if err := from.read(counted); err != nil {
		t.Fatal(err)
	}
	config := &Config{Levels: levels{by: grouping{byType}, warning: warning}}
	_, output := report(config.Levels.judge(&counts{}, []limit{ports}, counted), nil, config)
	return strings.TrimSuffix(output, "\n")
}

func TestEphemeralPortsTowardsTheFullestPeer(t *testing.T) {
	ports := ephemeralPorts{spaces: map[uint64]portSpace{0: {portRange: portRange{40000, 40099}, reserved: []portRange{{40010, 40019}}}}}
	to := func(number int, status, local, peer string) (lines []string) {
		for i := range number {
			lines = append(lines, fmt.Sprintf("tcp %s - - %s:%d %s", status, local, 40020+i, peer))
		}
		return lines
	}
	database := to(75, "ESTABLISHED", "127.0.0.1", "127.0.0.1:5432")
	for _, test := range []struct {
		name    string
		sockets []string
		want    string
	}{
		{"unused", nil, "[OK] - ephemeral ports: 0% of 90|ephemeral_ports=0%;80;;0;100"},
		{
			"80 percent", database[:72],
			"[OK] - ephemeral ports: 80% of 90 to 127.0.0.1:5432|ephemeral_ports=80%;80;;0;100",
		},
		{
			"fewer to another peer and from another address do not matter",
			append(append(to(10, "ESTABLISHED", "127.0.0.1", "127.0.0.1:80"), to(10, "ESTABLISHED", "127.0.0.2", "127.0.0.1:5432")...), database...),
			"[WARNING] - ephemeral ports: 83% of 90 to 127.0.0.1:5432 [WARNING]|ephemeral_ports=83.3%;80;;0;100",
		},
		{
			"whatever keeps a port", append(to(30, "TIME_WAIT", "10.0.0.1", "10.0.0.5:80"), "tcp6 CLOSE_WAIT - - 10.0.0.1:40001 10.0.0.5:80", "tcp SYN_SENT - - 10.0.0.1:40002 10.0.0.5:80"),
			"[OK] - ephemeral ports: 35% of 90 to 10.0.0.5:80|ephemeral_ports=35.6%;80;;0;100",
		},
		{
			"what keeps none", []string{
				"udp NONE - - 10.0.0.1:40001 10.0.0.5:80", "tcp LISTEN - - 10.0.0.1:40002", "tcp SYN_RECV - - 10.0.0.1:40003 10.0.0.5:80",
				"tcp CLOSE - - 10.0.0.1:40004 10.0.0.5:80", "tcp ESTABLISHED - - 10.0.0.1:40010 10.0.0.5:80", "tcp ESTABLISHED - - 10.0.0.1:80 10.0.0.5:40001",
			},
			"[OK] - ephemeral ports: 0% of 90|ephemeral_ports=0%;80;;0;100",
		},
		{
			"as many, by the name of the peer", []string{"tcp CLOSING - - 10.0.0.1:40002 10.0.0.7:80", "tcp CLOSING - - 10.0.0.1:40001 10.0.0.5:80"},
			"[OK] - ephemeral ports: 1% of 90 to 10.0.0.5:80|ephemeral_ports=1.1%;80;;0;100",
		},
	} {
		if got := judgedPorts(t, ports, socketsOf(test.sockets...), "80"); got != test.want {
			t.Errorf("%s: got  %s\nwant %s", test.name, got, test.want)
		}
	}
	accepted := socket("tcp ESTABLISHED - - 10.0.0.1:40050 10.0.0.5:50000") // by a service with a port of the range
	accepted.Direction = directionIn
	if got := judgedPorts(t, ports, made{accepted}, "80"); got != "[OK] - ephemeral ports: 0% of 90|ephemeral_ports=0%;80;;0;100" {
		t.Errorf("got %s", got)
	}
}

// Of several network namespaces the one counts whose ports are used up the most.
func TestFullestPortsOfSeveralNamespaces(t *testing.T) {
	ports := ephemeralPorts{
		spaces: map[uint64]portSpace{1: {portRange: portRange{40000, 40099}}, 2: {portRange: portRange{40000, 40009}}},
		names:  map[uint64]string{1: "large", 2: "sm:all"},
	}
	portsIn := func(id uint64, number int) (from made) {
		for i := range number {
			s := socket(fmt.Sprintf("tcp ESTABLISHED - - 10.0.0.1:%d 10.0.0.5:80", 40000+i))
			s.NetnsID = id
			from = append(from, s)
		}
		return from
	}
	for _, test := range []struct {
		from made
		want string
	}{
		{nil, "[OK] - ephemeral ports: 0% of 100 in large|ephemeral_ports=0%;70;;0;100"},
		{portsIn(1, 30), "[OK] - ephemeral ports: 30% of 100 to 10.0.0.5:80 in large|ephemeral_ports=30%;70;;0;100"},
		{append(portsIn(1, 60), portsIn(2, 8)...), "[WARNING] - ephemeral ports: 80% of 10 to 10.0.0.5:80 in sm_all [WARNING]|ephemeral_ports=80%;70;;0;100"},
		{append(portsIn(1, 90), portsIn(2, 8)...), "[WARNING] - ephemeral ports: 90% of 100 to 10.0.0.5:80 in large [WARNING]|ephemeral_ports=90%;70;;0;100"},
		{portsIn(3, 90), "[OK] - ephemeral ports: 0% of 100 in large|ephemeral_ports=0%;70;;0;100"}, // nothing is known of it
	} {
		if got := judgedPorts(t, ports, test.from, "70"); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
