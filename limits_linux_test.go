package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	long := strings.Repeat("1,3,", 32<<10) + "5"
	proc := procTree(t, map[string]string{"sys/net/a": "32768\t60999\n", "sys/net/empty": "", "sys/" + reservedPorts: long + "\n"})
	for name, want := range map[string]string{"net/a": "32768\t60999", "net/empty": "", reservedPorts: long} {
		if got, err := proc.setting(name); got != want || err != nil {
			t.Errorf("%s: got %.100q, %v", name, got, err)
		}
	}
	if _, err := proc.setting("net/none"); err == nil {
		t.Error("a setting that is not there has a value")
	}
}

// ephemeralPorts reads that limit alone.
func (h *host) ephemeralPorts(t *testing.T) (ephemeralPorts, error) {
	t.Helper()
	all, err := h.limits(func(kind limitRow) bool { return kind == limitEphemeral })
	if err != nil {
		return nil, err
	}
	return all[0].(ephemeralPorts), nil
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
			got, err := h.ephemeralPorts(t)
			if test.message != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "the ephemeral ports are not known: ") || !strings.HasSuffix(err.Error(), test.message) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || got[0].size() != test.size || got[0].name != "own" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestEphemeralPortsOfANamespaceThatVanishedAreNotAsked(t *testing.T) {
	h := host{procfs: "/proc", spaces: []namespace{{}, {inode: 1, paths: []string{"/run/netns/gone"}, mayVanish: true}}}
	if got, err := h.ephemeralPorts(t); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	h.spaces[1].mayVanish = false
	if got, err := h.ephemeralPorts(t); err == nil {
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
		for port, isInList := range reservedIn(t, text) {
			if space.has(uint32(port)) == (isInList || port == 0) {
				t.Errorf("%d: got %t", port, space.has(uint32(port)))
			}
			if port > 0 && !isInList {
				free++
			}
		}
		if space.size() != free {
			t.Errorf("got %d ports, want %d", space.size(), free)
		}
	})
}

// reservedIn reads net.ipv4.ip_local_reserved_ports, which must be right.
func reservedIn(t *testing.T, text string) (reserved [1 << 16]bool) {
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

func TestLimitsOfARecordedHost(t *testing.T) {
	const sockstat = "thread-self/net/sockstat"
	line := func(values string) string { return "sockets: used 300\nTCP: " + values + "\nUDP: inuse 4 mem 1\n" }
	for _, test := range []struct {
		kind  limitRow
		files map[string]string
		text  string
		value float64
		fails string // what an error ends in
	}{
		{limitConntrack, map[string]string{"sys/net/netfilter/nf_conntrack_count": "220000\n", "sys/net/netfilter/nf_conntrack_max": "262144\n"}, "connection tracking: 83% of 262144", 83.9, ""},
		{limitConntrack, map[string]string{"sys/net/ipv4/ip_local_port_range": "32768\t60999\n"}, "connection tracking: not in use", 0, ""},
		{limitConntrack, map[string]string{"sys/net/netfilter/nf_conntrack_count/": ""}, "", 0, "sys/net/netfilter/nf_conntrack_count: is a directory"},
		{limitConntrack, map[string]string{"sys/net/netfilter/nf_conntrack_count": "many\n"}, "", 0, `net/netfilter/nf_conntrack_count is no number: "many"`},
		{limitOrphans, map[string]string{"sys/net/ipv4/tcp_max_orphans": "65536\n", sockstat: line("inuse 7 orphan 327 tw 2 alloc 9 mem 3")}, "orphans: 0.5% of 65536", 0.5, ""},
		{limitOrphans, map[string]string{"sys/net/ipv4/tcp_max_orphans": "65536\n", sockstat: "TCP: inuse 7\n"}, "", 0, "thread-self/net/sockstat has no orphan in its line TCP:"},
		{limitMemory, map[string]string{"sys/net/ipv4/tcp_mem": "100\t200\t400\n", sockstat: line("inuse 7 orphan 0 tw 2 alloc 9 mem 100")}, "TCP memory: 25% of 1.6 MiB", 25, ""},
		{limitMemory, map[string]string{"sys/net/ipv4/tcp_mem": "100\t200\n"}, "", 0, "net/ipv4/tcp_mem has 2 numbers, not 3"},
		{limitTimeWait, map[string]string{"sys/net/ipv4/tcp_max_tw_buckets": "1000\n", sockstat: line("inuse 7 orphan 0 tw 1001 alloc 9 mem 3")}, "TIME WAIT buckets: 100% of 1000", 100, ""},
		{limitFiles, map[string]string{"sys/fs/file-nr": "9000\t1000\t10000\n"}, "open files: 80% of 10000", 80, ""},
		{limitFiles, map[string]string{"sys/fs/file-nr": "9000\n"}, "", 0, "fs/file-nr has 1 numbers, not 3"},
		{limitFiles, nil, "", 0, "sys/fs/file-nr: no such file or directory"},
	} {
		t.Run(test.kind.name+" "+test.text+test.fails, func(t *testing.T) {
			if os.Getpagesize() != 4096 && test.kind == limitMemory {
				t.Skip("written for pages of 4 KiB")
			}
			h := host{procfs: procTree(t, test.files), spaces: []namespace{{}}}
			all, err := h.limits(func(kind limitRow) bool { return kind == test.kind })
			if test.fails != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.kind.title+" cannot be told: ") || !strings.HasSuffix(err.Error(), test.fails) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || len(all) != 1 {
				t.Fatalf("got %v, %v", all, err)
			}
			if got := all[0].figure(nil); got.text != test.text || got.value != test.value || (got.label == "") != strings.HasSuffix(test.text, "not in use") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestHalfOpenConnectionsAreLimitedWithoutCookies(t *testing.T) {
	for name, test := range map[string]struct {
		cookies, most string
		want          int
	}{
		"with cookies":    {"1\n", "4096\n", 0},
		"without":         {"0\n", "4096\n", 3073},
		"without, of 128": {"0\n", "128\n", 97},
		"not built in":    {"", "128\n", 97},
		"not told":        {"0\n", "", 0},
	} {
		tree := map[string]string{"sys/net/ipv4/ip_local_port_range": "32768 60999\n"}
		for file, content := range map[string]string{"tcp_syncookies": test.cookies, "tcp_max_syn_backlog": test.most} {
			if content != "" {
				tree["sys/net/ipv4/"+file] = content
			}
		}
		root := procTree(t, tree)
		if got, err := root.halfOpenMax(); got != test.want || err != nil {
			t.Errorf("%s: got %d, %v", name, got, err)
		}
	}
}

// Where /proc/sys is not there at all (systemd's ProcSubset=pid), nothing says what
// the host lacks.
func TestSettingsThatCannotBeSeenAreNoMissingOnes(t *testing.T) {
	root := procTree(t, map[string]string{"thread-self/net/sockstat": "TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n"})
	if most, err := root.halfOpenMax(); err == nil {
		t.Errorf("half-open connections: got %d", most)
	}
	for _, kind := range []limitRow{limitConntrack, limitMemory, limitOrphans, limitTimeWait, limitFiles} {
		one := &host{procfs: root}
		if err := one.addQuotas(map[limitRow]quota{}, func(l limitRow) bool { return l == kind }, namespace{}); err == nil {
			t.Errorf("%s: no error", kind.title)
		}
	}
}
