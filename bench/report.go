//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// print writes the hardware and a Markdown table with all the measurements.
func (r *results) print(output io.Writer) {
	fmt.Fprintf(output, "%s\n", hardware())
	fmt.Fprintf(output, "Medians of whole processes; the smallest one, true, shows as %s, %s.\n\n",
		formatTime(r.floor.took.Seconds()), formatMemory(float64(r.floor.memory)))
	fmt.Fprintln(output, "| sockets | command | time | times the check's | peak memory | times the check's | runs |")
	fmt.Fprintln(output, "|---:|---|---:|---:|---:|---:|---:|")
	for _, sockets := range r.sizes {
		checkTook, checkMemory, checkRan := r.measured[sockets][plain].middle()
		for _, command := range r.commands {
			m := r.measured[sockets][command.name]
			if m == nil {
				continue
			}
			fmt.Fprintf(output, "| %s | %s |", formatCount(sockets), command.name)
			took, memory, ok := m.middle()
			switch {
			case !ok:
				fmt.Fprintf(output, " skipped: %s | | | | 0 |\n", strings.ReplaceAll(m.problem, "|", "/"))
			case !checkRan || command.name == plain:
				fmt.Fprintf(output, " %s | | %s | | %d |\n", formatTime(took), formatMemory(memory), len(m.samples))
			default:
				fmt.Fprintf(output, " %s | %s | %s | %s | %d |\n", formatTime(took), formatRatio(took/checkTook),
					formatMemory(memory), formatRatio(memory/checkMemory), len(m.samples))
			}
		}
	}
}

// hardware describes the machine in one line.
func hardware() string {
	model := "unknown processor"
	if file, err := os.Open("/proc/cpuinfo"); err == nil {
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if name, value, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var system unix.Utsname
	_ = unix.Uname(&system)
	return fmt.Sprintf("Hardware: %s, %d cores, %s %s %s", model, runtime.NumCPU(),
		unix.ByteSliceToString(system.Sysname[:]), unix.ByteSliceToString(system.Release[:]), unix.ByteSliceToString(system.Machine[:]))
}

func formatTime(seconds float64) string {
	switch {
	case seconds < 0.01:
		return fmt.Sprintf("%.1f ms", seconds*1e3)
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", seconds*1e3)
	}
	return fmt.Sprintf("%.1f s", seconds)
}

func formatMemory(bytes float64) string {
	return fmt.Sprintf("%.1f MiB", bytes/(1<<20))
}

func formatRatio(ratio float64) string {
	if ratio < 10 {
		return fmt.Sprintf("%.2f", ratio)
	}
	return fmt.Sprintf("%.1f", ratio)
}

// formatCount writes a number with its thousands apart.
func formatCount(number int) string {
	if number < 1000 {
		return fmt.Sprint(number)
	}
	return fmt.Sprintf("%s,%03d", formatCount(number/1000), number%1000)
}

// A target is a number that has to be reached.
type target struct {
	text    string
	sockets []int // the numbers of sockets that it needs
	measure func(*results) (value float64, ok bool)
	atLeast bool
	limit   float64
	format  func(float64) string
}

// A verdict is what became of a target.
type verdict struct {
	target
	value    float64
	asked    bool // all the numbers of sockets that it needs were asked for
	measured bool
}

// targets is all that the check promises about its speed and size.
func targets() []target {
	times := func(sockets int, text, slower, faster string, atLeast bool, limit float64) target {
		return target{text, []int{sockets}, func(r *results) (float64, bool) {
			above, _, ok := r.measured[sockets][slower].middle()
			below, _, alsoOk := r.measured[sockets][faster].middle()
			return above / below, ok && alsoOk
		}, atLeast, limit, formatRatio}
	}
	memory := func(sockets int, command string, limit float64) target {
		text := fmt.Sprintf("%s sockets, `%s`: peak memory", formatCount(sockets), command)
		return target{text, []int{sockets}, func(r *results) (float64, bool) {
			_, bytes, ok := r.measured[sockets][command].middle()
			return bytes, ok
		}, false, limit * (1 << 20), formatMemory}
	}
	list := []target{
		times(variantSockets, "100,000 sockets: psutil's time", psutil, plain, true, 12),
		{"100,000 sockets: psutil's memory", []int{variantSockets}, func(r *results) (float64, bool) {
			_, above, ok := r.measured[variantSockets][psutil].middle()
			_, below, alsoOk := r.measured[variantSockets][plain].middle()
			return above / below, ok && alsoOk
		}, true, 10, formatRatio},
		times(variantSockets, "100,000 sockets: gopsutil's time", gopsutil, plain, true, 25),
		times(variantSockets, "100,000 sockets: ss's time", ss, plain, true, 1.5),
		times(0, "idle: time against ss", plain, ss, false, 1.3),
		times(variantSockets, "100,000 sockets: plain call's time against `--conn-status=close_wait`", plain, closeWait, true, 4),
		times(variantSockets, "100,000 sockets, `--by local-port`: time against the plain call", byLocalPort, plain, false, 2),
		times(variantSockets, "100,000 sockets, `--by remote-address`, 100 peers: time against the plain call", byPeerAddress, plain, false, 2),
		times(variantSockets, "100,000 sockets, `--by process`, 10 processes: time against the plain call", byProcess, plain, false, 6),
		memory(variantSockets, byProcess, 40),
		times(variantSockets, "100,000 sockets, `--min-idle 1h`: time against the plain call", minIdle, plain, false, 2.5),
	}
	for _, sockets := range []int{0, 10_000, 100_000, 500_000, 1_000_000} {
		list = append(list, memory(sockets, plain, 12))
	}
	return append(list, target{"peak memory at 500,000 sockets above that at 10,000", []int{10_000, 500_000}, func(r *results) (float64, bool) {
		_, few, ok := r.measured[10_000][plain].middle()
		_, many, alsoOk := r.measured[500_000][plain].middle()
		return many - few, ok && alsoOk
	}, false, 1 << 20, formatMemory})
}

// judge compares the results with the targets.
func (r *results) judge() []verdict {
	var verdicts []verdict
	for _, target := range targets() {
		verdict := verdict{target: target, asked: true}
		for _, sockets := range target.sockets {
			verdict.asked = verdict.asked && r.measured[sockets] != nil
		}
		verdict.value, verdict.measured = target.measure(r)
		verdicts = append(verdicts, verdict)
	}
	return verdicts
}

func (v verdict) reached() bool {
	if v.atLeast {
		return v.measured && v.value >= v.limit
	}
	return v.measured && v.value <= v.limit
}

// failed tells whether the target should have been reached in this run: not
// one whose number of sockets nobody asked for, but one whose command failed.
func (v verdict) failed() bool {
	return v.asked && !v.reached()
}

// printVerdicts writes the targets and what became of them as a Markdown
// table.
func printVerdicts(output io.Writer, verdicts []verdict) {
	fmt.Fprintln(output, "\n| target | to reach | measured | ok? |")
	fmt.Fprintln(output, "|---|---:|---:|---|")
	for _, v := range verdicts {
		if !v.asked {
			continue
		}
		bound := "at most "
		if v.atLeast {
			bound = "at least "
		}
		measured, ok := "skipped", "no"
		if v.measured {
			measured = v.format(v.value)
		}
		if v.reached() {
			ok = "yes"
		}
		fmt.Fprintf(output, "| %s | %s%s | %s | %s |\n", v.text, bound, v.format(v.limit), measured, ok)
	}
}
