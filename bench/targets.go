//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
)

// A figure is one number of the table.
type figure struct {
	load    load
	command string
	of      quantity
}

// A target is a quotient of sums of figures that has to be reached.
type target struct {
	text    string
	over    []figure
	under   []figure // 1 if there are none
	atLeast bool
	limit   float64
	format  func(float64) string
}

// A verdict is what became of a target.
type verdict struct {
	target
	value float64
	// missing says why there is no value, and is empty if there is one.
	missing string
}

// Why a target has no value.
const (
	notAsked     = "not asked for"
	needBaseline = "needs --baseline"
	skipped      = "skipped"
)

// noise is how far the medians of the same program are apart at most, so that
// a program is as fast or as small as another up to here.
const noise = 1.1

// faster is a target for how many times the time of a command another takes.
func faster(l load, text, name, other string, limit float64) target {
	return target{
		fmt.Sprintf("%s: %s", l, text),
		[]figure{{l, other, wallTime}}, []figure{{l, name, wallTime}}, true, limit, formatRatio,
	}
}

// within is a target for what a command takes at most, as a multiple of what
// another takes.
func within(l load, text, name, other string, of quantity, limit float64) target {
	return target{
		fmt.Sprintf("%s: %s", l, text),
		[]figure{{l, name, of}}, []figure{{l, other, of}}, false, limit, formatRatio,
	}
}

// small is a target for the peak memory of a command in MiB.
func small(l load, name string, limit float64) target {
	return target{
		fmt.Sprintf("%s: peak memory, `%s`", l, name),
		[]figure{{l, name, peakMemory}}, nil, false, limit * (1 << 20), formatMemory,
	}
}

// targets is all that the check promises about its speed and size.
func targets() []target {
	idle := load{established, 0}
	hundredThousand, halfMillion, million := load{established, variantSockets}, load{established, filterSockets}, load{established, 1_000_000}
	clients, servers, matching := load{outgoing, 100_000}, load{incoming, 500_000}, load{matches, 500_000}
	spaces := load{namespaces, 100}
	list := []target{
		faster(million, "against ss", plain, ss, 15),
		faster(million, "against psutil", plain, psutil, 100),
		faster(million, "against gopsutil", plain, gopsutil, 160),
		within(million, "time against the BPF iterator", plain, iterator, wallTime, 1),
		faster(hundredThousand, "against ss", plain, ss, 10),
		faster(hundredThousand, "against psutil", plain, psutil, 12),
		faster(hundredThousand, "against gopsutil", plain, gopsutil, 25),
		{hundredThousand.String() + ": psutil's memory", []figure{{hundredThousand, psutil, peakMemory}}, []figure{{hundredThousand, plain, peakMemory}}, true, 10, formatRatio},
		within(idle, "time against ss", plain, ss, wallTime, 1),
		within(idle, "CPU time against before", plain, before+plain, cpuTime, 0.7),
		within(clients, "time of the call with thresholds against the plain one before", recommended, before+plain, wallTime, 1.5),
		small(clients, recommended, 12),
		faster(servers, "the call with thresholds against ss", recommended, ss, 6),
		faster(halfMillion, "`--local-port 443`, no match, against ss", localPort, ssLocalPort, 1.3),
		faster(matching, "`--local-port 443 --by remote-address` against before", localPortByPeer, before+localPortByPeer, 3),
		faster(spaces, "`--netns all` against before", allNamespaces, before+allNamespaces, 2),
		small(clients, byLocalPort, 12),
		{
			// The culprits take one more list of all sockets, which the plain call was before.
			hundredThousand.String() + ": time of `--by process` with a violation against that without and the plain call before together",
			[]figure{{hundredThousand, violation, wallTime}}, []figure{{hundredThousand, byProcess, wallTime}, {hundredThousand, before + plain, wallTime}}, false, 1.2, formatRatio,
		},
		small(hundredThousand, byProcess, 40),
	}
	for _, l := range []load{idle, {established, 10_000}, hundredThousand, halfMillion, million, {proxy, 50_000}, {leak, 100_000}, clients, servers} {
		list = append(list, small(l, plain, 6))
	}
	return append(list, notWorse(hundredThousand)...)
}

// notWorse is the targets of no call being slower or larger than before.
func notWorse(l load) []target {
	var list []target
	for _, name := range measuredWith(l) {
		if isCheck(name) {
			list = append(list,
				within(l, fmt.Sprintf("time against before, `%s`", name), name, before+name, wallTime, noise),
				within(l, fmt.Sprintf("peak memory against before, `%s`", name), name, before+name, peakMemory, noise))
		}
	}
	return list
}

// judge compares the results with the targets.
func (r *results) judge() []verdict {
	var verdicts []verdict
	for _, t := range targets() {
		v := verdict{target: t}
		over, missing := r.sum(t.over)
		under, alsoMissing := r.sum(t.under)
		if len(t.under) == 0 {
			under = 1
		}
		v.value, v.missing = over/under, cmp.Or(missing, alsoMissing)
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// sum adds up figures, or says why there is none.
func (r *results) sum(figures []figure) (total float64, missing string) {
	for _, f := range figures {
		if r.measured[f.load] == nil {
			return 0, notAsked
		}
		if strings.HasPrefix(f.command, before) && r.baseline == "" {
			return 0, needBaseline
		}
		value, ok := r.measured[f.load][f.command].median(f.of)
		if !ok {
			return 0, skipped
		}
		total += value
	}
	return total, ""
}

func (v verdict) reached() bool {
	if v.atLeast {
		return v.missing == "" && v.value >= v.limit
	}
	return v.missing == "" && v.value <= v.limit
}

// failed tells whether the target should have been reached in this run: not
// one that nobody asked for, but one whose command failed.
func (v verdict) failed() bool {
	return !v.reached() && v.missing != notAsked && v.missing != needBaseline
}

// printVerdicts writes the targets and what became of them as a Markdown
// table.
func printVerdicts(output io.Writer, verdicts []verdict) {
	fmt.Fprintln(output, "\n| target | to reach | measured | ok? |")
	fmt.Fprintln(output, "|---|---:|---:|---|")
	for _, v := range verdicts {
		if v.missing == notAsked {
			continue
		}
		bound := "at most "
		if v.atLeast {
			bound = "at least "
		}
		measured, ok := v.missing, ""
		switch {
		case v.reached():
			ok = "yes"
		case v.failed():
			ok = "no"
		}
		if v.missing == "" {
			measured = v.format(v.value)
		}
		fmt.Fprintf(output, "| %s | %s%s | %s | %s |\n", v.text, bound, v.format(v.limit), measured, ok)
	}
}
