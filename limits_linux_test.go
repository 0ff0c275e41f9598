package main

import (
	"strconv"
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	long := strings.Repeat("1,3,", 32<<10) + "5"
	proc := procTree(t, map[string]string{"sys/net/a": "32768\t60999\n", "sys/net/empty": "", "sys/net/long": long + "\n"})
	for name, want := range map[string]string{"net/a": "32768\t60999", "net/empty": "", "net/long": long} {
		if got, err := proc.setting(name); got != want || err != nil {
			t.Errorf("%s: got %.100q, %v", name, got, err)
		}
	}
	if _, err := proc.setting("net/none"); err == nil {
		t.Error("a setting that is not there has a value")
	}
}

func TestEphemeralPortsAreReadFromTheSettings(t *testing.T) {
	const limits, reserved = "sys/net/ipv4/ip_local_port_range", "sys/net/ipv4/ip_local_reserved_ports"
	for _, test := range []struct {
		name    string
		files   map[string]string
		size    int
		message string // what an error ends in
	}{
		{"the usual ones", map[string]string{limits: "32768\t60999\n", reserved: "\n"}, 28232, ""},
		{"some are reserved", map[string]string{limits: "40000 40099\n", reserved: "1,40010-40019,40099-50000\n"}, 89, ""},
		{"no range", map[string]string{limits: "40000\t\n40009 1\n", reserved: "\n"}, 0, `net.ipv4.ip_local_port_range is no range: "40000__40009 1"`},
		{"no list", map[string]string{limits: "40000 40009\n", reserved: "1,,2\n"}, 0, `net.ipv4.ip_local_reserved_ports is no list of ports: "1,,2"`},
		{"no settings", nil, 0, "ip_local_port_range: no such file or directory"},
		{"half of the settings", map[string]string{limits: "40000 40009\n"}, 0, "ip_local_reserved_ports: no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := host{procfs: procTree(t, test.files), spaces: []namespace{{name: "own"}}}
			got, err := h.ephemeralPorts()
			if test.message != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "the ephemeral ports are not known: ") || !strings.HasSuffix(err.Error(), test.message) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || got.spaces[0].size() != test.size || got.names[0] != "own" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestEphemeralPortsOfANamespaceThatVanishedAreNotAsked(t *testing.T) {
	h := host{procfs: "/proc", spaces: []namespace{{}, {inode: 1, paths: []string{"/run/netns/gone"}, mayVanish: true}}}
	if got, err := h.ephemeralPorts(); err != nil || len(got.spaces) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	h.spaces[1].mayVanish = false
	if got, err := h.ephemeralPorts(); err == nil {
		t.Errorf("got %v", got)
	}
}

// FuzzPortSpace reads texts as each of the two settings.
func FuzzPortSpace(f *testing.F) {
	for _, text := range []string{
		"32768\t60999", "1024 65535", "1\t1", "0\t0", "60999\t32768", "-1\t5", "1\t70000", "32768", "",
		"8080,9148-9150", "0-100", "1,2,3,", "5-1", "65535", "65536",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if space, err := parsePortSpace(text, ""); err == nil && (space.first > space.last || space.last > 65535 || space.size() != int(space.last-space.first)+1) {
			t.Errorf("got the ports %v", space)
		}
		space, err := parsePortSpace("1\t65535", text)
		if err != nil {
			return
		}
		free := 0
		for port, isReserved := range reservedPorts(t, text) {
			if space.has(uint32(port)) == (isReserved || port == 0) {
				t.Errorf("%d: got %t", port, space.has(uint32(port)))
			}
			if port > 0 && !isReserved {
				free++
			}
		}
		if space.size() != free {
			t.Errorf("got %d ports, want %d", space.size(), free)
		}
	})
}

// reservedPorts reads net.ipv4.ip_local_reserved_ports, which must be right.
func reservedPorts(t *testing.T, text string) (reserved [1 << 16]bool) {
	t.Helper()
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err1 := strconv.Atoi(first)
		high, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || low < 0 || high > 65535 || low > high {
			t.Fatalf("%q is taken for a list of ports", text)
		}
		for port := low; port <= high; port++ {
			reserved[port] = true
		}
	}
	return reserved
}
