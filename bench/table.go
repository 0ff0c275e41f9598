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
	fmt.Fprintln(output, hardware())
	fmt.Fprintf(output, "Medians of whole processes; the smallest one, true, shows as %s, %s of CPU time and %s.\n",
		formatTime(wallTime(r.empty)), formatTime(cpuTime(r.empty)), formatMemory(peakMemory(r.empty)))
	fmt.Fprintf(output, "A multiple is that of the first row with the same sockets. The thresholds are, so that nothing\nviolates them, `%s`.\n\n", thresholds)
	fmt.Fprintln(output, "| sockets | command | time | multiple | CPU time | multiple | peak memory | multiple | runs |")
	fmt.Fprintln(output, "|---|---|---:|---:|---:|---:|---:|---:|---:|")
	for _, l := range r.loads {
		first := r.measured[l][measuredWith(l)[0]]
		for _, name := range r.names(l) {
			m := r.measured[l][name]
			fmt.Fprintf(output, "| %s | %s |", l, name)
			if m.problem != "" {
				fmt.Fprintf(output, " skipped: %s | | | | | | 0 |\n", strings.ReplaceAll(m.problem, "|", "/"))
				continue
			}
			cell(output, m, first, wallTime, formatTime)
			cell(output, m, first, cpuTime, formatTime)
			cell(output, m, first, peakMemory, formatMemory)
			fmt.Fprintf(output, " %d |\n", len(m.samples))
		}
	}
}

// names returns the commands that were measured with a load, in order.
func (r *results) names(l load) []string {
	var list []string
	for _, name := range measuredWith(l) {
		list = append(list, name)
		if isCheck(name) && r.baseline != "" {
			list = append(list, before+name)
		}
	}
	return list
}

// cell writes the median of a quantity and which multiple of the first row's
// it is.
func cell(output io.Writer, m, first *measurement, of quantity, format func(float64) string) {
	value, _ := m.median(of)
	base, ok := first.median(of)
	if !ok || m == first {
		fmt.Fprintf(output, " %s | |", format(value))
		return
	}
	fmt.Fprintf(output, " %s | %s |", format(value), formatRatio(value/base))
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

func formatMemory(size float64) string {
	return fmt.Sprintf("%.1f MiB", size/(1<<20))
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
