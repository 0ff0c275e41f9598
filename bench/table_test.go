//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	r := measuredExample()
	for _, name := range r.names(load{established, 100_000}) {
		if r.measured[load{established, 100_000}][name] == nil {
			r.measured[load{established, 100_000}][name] = &measurement{problem: "no"}
		}
	}
	r.loads = []load{{established, 100_000}}
	var output bytes.Buffer
	r.print(&output)
	for _, row := range []string{
		"| 100,000 established | check_network_connections | 100 ms | | 150 ms | | 8.0 MiB | | 1 |",
		"| 100,000 established | before: check_network_connections | 90 ms | 0.90 | 135 ms | 0.90 | 8.0 MiB | 1.00 | 1 |",
		"| 100,000 established | ss -tuan | 1.0 s | 10.0 | 1.5 s | 10.0 | 7.0 MiB | 0.88 | 1 |",
		"| 100,000 established | Go, gopsutil Connections | skipped: a / b | | | | | | 0 |",
	} {
		if !strings.Contains(output.String(), row+"\n") {
			t.Errorf("%s is missing in\n%s", row, &output)
		}
	}
}

func TestNumbersAreReadable(t *testing.T) {
	for got, want := range map[string]string{
		formatCount(0):                   "0",
		formatCount(100_000):             "100,000",
		formatCount(1_000_001):           "1,000,001",
		formatTime(0.00312):              "3.1 ms",
		formatTime(0.2504):               "250 ms",
		formatTime(24.81):                "24.8 s",
		formatMemory(8.25 * 1024 * 1024): "8.2 MiB",
		formatRatio(1.304):               "1.30",
		formatRatio(24.96):               "25.0",
		load{established, 0}.String():    "idle",
		load{proxy, 50_000}.String():     "50,000 in TIME_WAIT",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if line := hardware(); !strings.HasPrefix(line, "Hardware: ") || !strings.Contains(line, "Linux") {
		t.Errorf("hardware line %q", line)
	}
}
