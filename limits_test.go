package main

import (
	"strings"
	"testing"
)

// withLimits returns a configuration with thresholds that may name limits, which
// only the flags of a live Linux system may.
func withLimits(t *testing.T, warning, critical string) *options {
	t.Helper()
	config := configOf(t)
	for _, level := range []struct {
		text string
		into *thresholds
	}{{warning, &config.levels.warning}, {critical, &config.levels.critical}} {
		var err error
		*level.into, err = parseThresholds([]string{level.text}, config.levels.by, func(name groupName) (groupName, error) { return name, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	return config
}

// judgedLimit returns the first line for a limit alone, without the groups.
func judgedLimit(t *testing.T, one limit, from made, warning string) string {
	t.Helper()
	config := withLimits(t, one.row().name+"="+warning, "")
	var used counter
	if users := one.tally(); users != nil {
		used = newCounter([]*tally{users})
		if err := from.read(used); err != nil {
			t.Fatal(err)
		}
	}
	_, output := report(config.levels.judge(&counts{}, []limit{one}, used), nil, config)
	return strings.TrimSuffix(output, "\n")
}

// The limits of a host on which nothing has run out.
var healthyLimits = []limit{
	ephemeralPorts{0: {portRange: portRange{32768, 60999}}}, backlogs{0: {}},
	quota{limitRow: limitConntrack, used: 113000, size: 262144}, quota{limitRow: limitOrphans, used: 1, size: 262144},
	quota{limitRow: limitMemory, used: 280 << 20, size: 2.2 * (1 << 30), unit: "bytes"}, quota{limitRow: limitFiles, used: 1200, size: 9.2e18},
}

func TestLimitsAreJudgedTogetherAndByTheirNames(t *testing.T) {
	full := func(kind limitRow) []limit {
		limits := make([]limit, len(healthyLimits))
		copy(limits, healthyLimits)
		for i, one := range limits {
			if one.row() == kind {
				limits[i] = quota{limitRow: kind, used: 96, size: 100}
			}
		}
		return limits
	}
	buckets := quota{limitRow: limitTimeWait, used: 99, size: 100}
	tests := []struct {
		name, warning, critical string
		limits                  []limit
		text                    string
	}{
		{"all is well", "limits=80", "limits=95", healthyLimits, "limits: 43% (connection tracking)"},
		{"a percent sign", "limits=80%", "Limits=@95%:100%", healthyLimits, "limits: 43% (connection tracking)"},
		{"only those in violation", "limits=40", "limits=95", healthyLimits, "connection tracking: 43% of 262144 [WARNING]"},
		{"several in violation", "limits=10", "limits=40", healthyLimits, "connection tracking: 43% of 262144 [CRITICAL], TCP memory: 12% of 2.2 GiB [WARNING]"},
		{"the worst", "limits=80", "limits=95", full(limitOrphans), "orphans: 96% of 100 [CRITICAL]"},
		{"a name of its own goes first", "limits=40,conntrack=60", "", healthyLimits, "connection tracking: 43% of 262144, limits: 12% (TCP memory)"},
		{"a name of its own, at the other level", "limits=80", "conntrack=40", healthyLimits, "connection tracking: 43% of 262144 [CRITICAL], limits: 12% (TCP memory)"},
		{"none for it at this level", "conntrack=90", "limits=40", healthyLimits, "connection tracking: 43% of 262144 [CRITICAL], limits: 12% (TCP memory)"},
		{"named alone", "memory=80", "", healthyLimits[4:5], "TCP memory: 12% of 2.2 GiB"},
		{"one decimal below one percent", "orphans=80", "", []limit{quota{limitRow: limitOrphans, used: 900, size: 100000}}, "orphans: 0.9% of 100000"},
		{"the fullest is below one percent", "limits=80", "", []limit{quota{limitRow: limitOrphans, used: 3, size: 1000}, quota{limitRow: limitFiles, used: 1, size: 1000}}, "limits: 0.3% (orphans)"},
		{"rounded to nothing", "orphans=80", "", []limit{quota{limitRow: limitOrphans, used: 4, size: 10000}}, "orphans: 0% of 10000"},
		{"never above 100 percent", "orphans=80", "", []limit{quota{limitRow: limitOrphans, used: 300, size: 100}}, "orphans: 100% of 100 [WARNING]"},
		{"judged as it is shown", "orphans=0.5", "orphans=0.9", []limit{quota{limitRow: limitOrphans, used: 9, size: 1000}}, "orphans: 0.9% of 1000 [WARNING]"},
		{"in a namespace", "conntrack=80", "", []limit{quota{limitRow: limitConntrack, used: 83, size: 100, where: " in web"}}, "connection tracking: 83% of 100 in web [WARNING]"},
		{"small memory", "memory=80", "", []limit{quota{limitRow: limitMemory, used: 1 << 20, size: 100 << 20, unit: "bytes"}}, "TCP memory: 1% of 100.0 MiB"},

		// What a host does not have.
		{"named by itself", "conntrack=80", "", []limit{quota{limitRow: limitConntrack}}, "connection tracking: not in use"},
		{"one of the limits", "limits=80", "", []limit{quota{limitRow: limitConntrack}, healthyLimits[3]}, "limits: 0% (orphans)"},
		{"a range that alerts on 0", "conntrack=1:", "", []limit{quota{limitRow: limitConntrack}}, "connection tracking: not in use"},

		// Behind the limit of TIME_WAIT nothing fails.
		{"not one of the limits", "limits=80,timewait=100", "", []limit{healthyLimits[3], buckets}, "TIME WAIT buckets: 99% of 100, limits: 0% (orphans)"},
		{"only named", "timewait=80", "", []limit{buckets}, "TIME WAIT buckets: 99% of 100 [WARNING]"},
	}
	for _, test := range tests {
		output, _ := replyOf(t, withLimits(t, test.warning, test.critical), nil, test.limits...)
		if textOf(output) != test.text {
			t.Errorf("%s: got  %s\nwant %s", test.name, output, test.text)
		}
	}
}

// All of them are in the performance data, in the order of the table, behind the
// groups and in front of the total.
func TestLimitsInPerformanceData(t *testing.T) {
	all := append([]limit{}, healthyLimits[:5]...)
	all = append(all, quota{limitRow: limitTimeWait, used: 1, size: 3}, healthyLimits[5])
	from := socketsOf("2 tcp LISTEN web - 0.0.0.0:80 - backlog=9")
	output, code := replyOf(t, withLimits(t, "limits=80,timewait=20:,total=5", "limits=95"), from, all...)
	want := "[OK] - tcp LISTEN: 2, TIME WAIT buckets: 33% of 3, limits: 43% (connection tracking), total: 2|tcp_LISTEN=2;;;0 ephemeral_ports=0%;80;95;0;100 backlog=0%;80;95;0;100 " +
		"conntrack=43.1%;80;95;0;100 orphans=0%;80;95;0;100 tcp_memory=12.4%;80;95;0;100 time_wait_buckets=33.3%;20:;;0;100 open_files=0%;80;95;0;100 total=2;5;;0\n"
	if output != want || code != 0 {
		t.Errorf("got  %d %swant %s", code, output, want)
	}
	output, _ = replyOf(t, withLimits(t, "limits=80", ""), nil, quota{limitRow: limitConntrack}, healthyLimits[3])
	if want := "[OK] - limits: 0% (orphans)|orphans=0%;80;;0;100\n"; output != want {
		t.Errorf("got  %swant %s", output, want)
	}
}

func TestOnlyLimitsThatAreAskedForAreRead(t *testing.T) {
	for _, test := range []struct{ warning, critical, want string }{
		{"10", "", ""},
		{"tcp=5", "total=5", ""},
		{"limits=80", "", "ephemeral backlog conntrack orphans memory files"}, // behind timewait nothing fails
		{"ephemeral=80", "memory=90", "ephemeral memory"},
		{"timewait=80", "", "timewait"},
		{"limits=80", "timewait=90", "ephemeral backlog conntrack orphans memory timewait files"},
	} {
		var got []string
		for _, kind := range limitRows {
			if withLimits(t, test.warning, test.critical).levels.asksFor(kind) {
				got = append(got, kind.name)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("-w %s -c %s: got %v", test.warning, test.critical, got)
		}
	}
}

func TestLimitsAreAboutAllSockets(t *testing.T) {
	if thisSystem != "linux" {
		t.Skip("other systems have no limits")
	}
	from := made(socketsOf("tcp ESTABLISHED java[7] - 10.0.0.1:40000 10.0.0.5:80", "udp NONE dns"))
	config := configOf(t, "--conn-type", "tcp", "--process", "dns", "--min-idle", "1h", "-w", "ephemeral=5,total=0", "--no-details")
	output, _ := replyOf(t, config, from, ephemeralPorts{0: {portRange: portRange{40000, 40009}}})
	if want := "ephemeral ports: 10% of 10 to 10.0.0.5:80 [WARNING], total: 0"; textOf(output) != want {
		t.Errorf("got %s", output)
	}
}
