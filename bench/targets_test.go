//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// measuredOnce is one run of a command that used one and a half times its time.
func measuredOnce(milliseconds int, mib float64) *measurement {
	took := time.Duration(milliseconds) * time.Millisecond
	return &measurement{samples: []sample{{took, took * 3 / 2, int(mib * (1 << 20))}}}
}

func measuredExample() *results {
	hundred, half, connecting := load{established, 100_000}, load{established, 500_000}, load{outgoing, 100_000}
	return &results{
		plan: plan{loads: []load{hundred, half, connecting}, baseline: "old"},
		measured: map[load]map[string]*measurement{
			hundred: {
				plain: measuredOnce(100, 8), before + plain: measuredOnce(90, 8),
				ss: measuredOnce(1000, 7), psutil: measuredOnce(1100, 100), gopsutil: {problem: "a | b"},
				closeWait: measuredOnce(25, 8), before + closeWait: measuredOnce(25, 6),
				byProcess: measuredOnce(200, 9), violation: measuredOnce(351, 9),
			},
			half:       {localPort: measuredOnce(100, 5), ssLocalPort: measuredOnce(130, 3)},
			connecting: {recommended: measuredOnce(150, 13), before + plain: measuredOnce(100, 4)},
		},
	}
}

func TestVerdicts(t *testing.T) {
	r := measuredExample()
	var output bytes.Buffer
	verdicts := r.judge()
	printVerdicts(&output, verdicts)
	for _, row := range []string{
		"| 100,000 established: against ss | at least 10.0 | 10.0 | yes |",
		"| 100,000 established: against psutil | at least 12.0 | 11.0 | no |",
		"| 100,000 established: against gopsutil | at least 25.0 | skipped | no |",
		"| 100,000 established: psutil's memory | at least 10.0 | 12.5 | yes |",
		"| 100,000 established: time against before, `check_network_connections` | at most 1.10 | 1.11 | no |",
		"| 100,000 established: time against before, `check_network_connections --conn-status=close_wait` | at most 1.10 | 1.00 | yes |",
		"| 100,000 established: peak memory against before, `check_network_connections --conn-status=close_wait` | at most 1.10 | 1.33 | no |",
		"| 100,000 established: time of `--by process` with a violation against that without and the plain call before together | at most 1.20 | 1.21 | no |",
		"| 500,000 established: `--local-port 443`, no match, against ss | at least 1.30 | 1.30 | yes |",
		"| 100,000 half outgoing: time of the call with thresholds against the plain one before | at most 1.50 | 1.50 | yes |",
		"| 100,000 half outgoing: peak memory, `check_network_connections with thresholds` | at most 12.0 MiB | 13.0 MiB | no |",
	} {
		if !strings.Contains(output.String(), row+"\n") {
			t.Errorf("%s is missing", row)
		}
	}
	for _, text := range []string{"| idle", "1,000,000", "namespaces", "TIME_WAIT"} {
		if strings.Contains(output.String(), text) {
			t.Errorf("%q was not asked for", text)
		}
	}
	if t.Failed() {
		t.Log(output.String())
	}
	for _, v := range verdicts {
		if want := strings.Contains(output.String(), "| "+v.text+" |") && !v.reached(); v.failed() != want {
			t.Errorf("%s: failed is %t", v.text, v.failed())
		}
	}
}

func TestVerdictsWithoutABaseline(t *testing.T) {
	r := measuredExample()
	r.baseline = ""
	for _, commands := range r.measured {
		delete(commands, before+plain)
		delete(commands, before+closeWait)
	}
	var output bytes.Buffer
	verdicts := r.judge()
	printVerdicts(&output, verdicts)
	const row = "| 100,000 half outgoing: time of the call with thresholds against the plain one before | at most 1.50 | needs --baseline |  |\n"
	if !strings.Contains(output.String(), row) {
		t.Errorf("%s is missing in\n%s", row, &output)
	}
	for _, v := range verdicts {
		if v.missing == needBaseline && v.failed() {
			t.Errorf("%s: failed though nobody asked for it", v.text)
		}
	}
}

// The targets must speak of what is measured in a run of everything.
func TestTargetsAreMeasuredInAFullRun(t *testing.T) {
	loads, err := parseLoads(allLoads(), "0,10000,100000,500000,1000000")
	if err != nil {
		t.Fatal(err)
	}
	r := &results{plan: plan{loads: loads, baseline: "old"}, measured: make(map[load]map[string]*measurement)}
	for _, l := range loads {
		r.measured[l] = make(map[string]*measurement)
		for _, name := range r.names(l) {
			r.measured[l][name] = measuredOnce(1, 1)
		}
	}
	for _, v := range r.judge() {
		if v.missing != "" {
			t.Errorf("%s: %s", v.text, v.missing)
		}
	}
}
