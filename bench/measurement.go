//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// longest is the time after which a command is given up.
const longest = 5 * time.Minute

// A sample is one run of a command.
type sample struct {
	wall, cpu time.Duration
	memory    int // peak, in bytes
}

// A measurement is all the runs of a command with one load.
type measurement struct {
	samples []sample
	// problem says why there are no samples.
	problem string
}

// A quantity is something that is measured of a run.
type quantity func(sample) float64

func wallTime(s sample) float64   { return s.wall.Seconds() }
func cpuTime(s sample) float64    { return s.cpu.Seconds() }
func peakMemory(s sample) float64 { return float64(s.memory) }

// median returns the median of a quantity, and false if there is none.
func (m *measurement) median(of quantity) (float64, bool) {
	if m == nil || m.problem != "" || len(m.samples) == 0 {
		return 0, false
	}
	var values []float64
	for _, s := range m.samples {
		values = append(values, of(s))
	}
	return median(values), true
}

func median(values []float64) float64 {
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// take runs a command with the program measure and adds a sample, or says why
// it could not.
func (m *measurement) take(interrupted context.Context, measure string, c command) {
	s, code, err := run(interrupted, measure, c.arguments)
	switch {
	case err != nil:
		m.problem = err.Error()
	case code != c.code:
		m.problem = explain(interrupted, c.arguments)
	default:
		m.samples = append(m.samples, s)
	}
}

// run measures one run of a command and returns its exit code too.
func run(interrupted context.Context, measure string, arguments []string) (s sample, code int, err error) {
	path, err := exec.LookPath(arguments[0])
	if err != nil {
		return s, 0, err
	}
	limited, cancel := context.WithTimeout(interrupted, longest)
	defer cancel()
	c := exec.CommandContext(limited, measure, append([]string{path}, arguments[1:]...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errorOutput bytes.Buffer
	c.Stderr = &errorOutput
	output, err := c.Output()
	if limited.Err() != nil {
		return s, 0, fmt.Errorf("did not end in %s", longest)
	}
	if err != nil {
		return s, 0, fmt.Errorf("%w %s", err, errorOutput.Bytes())
	}
	var kib int
	if _, err := fmt.Sscan(string(output), (*int64)(&s.wall), (*int64)(&s.cpu), &kib, &code); err != nil {
		return s, 0, err
	}
	s.memory = kib << 10
	return s, code, nil
}

// explain runs a command once more and returns what it said. It is for
// commands whose exit code was not the one that they should end with.
func explain(interrupted context.Context, arguments []string) string {
	limited, cancel := context.WithTimeout(interrupted, longest)
	defer cancel()
	output, err := exec.CommandContext(limited, arguments[0], arguments[1:]...).CombinedOutput()
	lines := slices.Collect(strings.Lines(strings.TrimSpace(string(output))))
	switch {
	case len(lines) == 0 && err != nil:
		return err.Error()
	case len(lines) == 0:
		return "it said nothing"
	case strings.HasPrefix(lines[0], "Traceback"):
		// Python says what is wrong at the end, the check at the beginning.
		return lines[len(lines)-1]
	}
	return strings.TrimSpace(lines[0])
}
