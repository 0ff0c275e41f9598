//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The names of the commands, as they are printed.
const (
	plain         = "check_network_connections"
	closeWait     = plain + " --conn-status=close_wait"
	byLocalPort   = plain + " --by local-port"
	byPeerAddress = plain + " --by remote-address"
	byProcess     = plain + " --by process"
	minIdle       = plain + " --min-idle 1h"
	ss            = "ss -tuan"
	netstat       = "netstat -tuan"
	psutil        = "Python, psutil"
	gopsutil      = "Go, gopsutil Connections"
)

// psutilProgram does with psutil what gopsutil/main.go does with gopsutil.
const psutilProgram = `import collections, psutil; print(collections.Counter((c.family, c.type, c.status) for c in psutil.net_connections("inet")))`

const (
	// variantSockets is the number of sockets with which the check is measured
	// with other flags than none.
	variantSockets = 100_000
	// slow is the time from which on a command runs less often.
	slow = time.Second
	// longest is the time after which a command is given up.
	longest = 5 * time.Minute
	// longestLoad is the time after which the sockets are taken away.
	longestLoad = 2 * time.Hour
)

// A command is one of those that are compared.
type command struct {
	name      string
	arguments []string
	variant   bool
}

// A sample is one run of a command.
type sample struct {
	took   time.Duration
	memory int // peak, in bytes
}

// A measurement is all the runs of a command with one number of sockets.
type measurement struct {
	samples []sample
	// problem says why there are no samples.
	problem string
}

// results are the measurements by the number of sockets and the name of the
// command.
type results struct {
	sizes    []int
	commands []command
	floor    sample
	measured map[int]map[string]*measurement
}

// compare measures all commands with every number of sockets.
func compare(interrupted context.Context, sizes []int, rounds, slowRounds int) (*results, error) {
	folder, err := os.MkdirTemp("", "check_network_connections-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	if err := build(interrupted, folder); err != nil {
		return nil, err
	}
	// Only after building, which may have to download.
	if err := ownNamespace(); err != nil {
		fmt.Fprintln(os.Stderr, "The sockets of others are counted too, because this is not possible:", err)
	}

	measure := filepath.Join(folder, "measure")
	floor, err := run(interrupted, measure, []string{"true"})
	if err != nil {
		return nil, err
	}
	result := &results{sizes: sizes, commands: commands(folder), floor: floor, measured: make(map[int]map[string]*measurement)}
	// The first run loads the files, and shows which commands there are.
	problems := make(map[string]string)
	for _, command := range result.commands {
		problems[command.name] = try(interrupted, command.arguments)
	}
	for _, sockets := range sizes {
		measured := make(map[string]*measurement)
		for _, command := range result.commands {
			if !command.variant || sockets == variantSockets {
				measured[command.name] = &measurement{problem: problems[command.name]}
			}
		}
		load, err := startLoad(Shape{Sockets: sockets, Peers: peers, Limit: longestLoad})
		if err != nil {
			return nil, err
		}
		for round := range rounds {
			fmt.Fprintf(os.Stderr, "\r%d sockets: round %d of %d ", sockets, round+1, rounds)
			result.round(interrupted, measure, measured, round < slowRounds)
			if interrupted.Err() != nil {
				_ = load.stop()
				return nil, errors.New("interrupted")
			}
		}
		fmt.Fprintln(os.Stderr)
		if err := load.stop(); err != nil {
			return nil, err
		}
		result.measured[sockets] = measured
	}
	return result, nil
}

// round runs each of the commands once, in an order that differs from round to
// round, so that none always follows the same other. The slow ones take part
// only when asked for.
func (r *results) round(interrupted context.Context, measure string, measured map[string]*measurement, slowToo bool) {
	for _, i := range rand.Perm(len(r.commands)) {
		m := measured[r.commands[i].name]
		if m == nil || m.problem != "" || !slowToo && m.samples[0].took > slow {
			continue
		}
		sample, err := run(interrupted, measure, r.commands[i].arguments)
		if err != nil {
			m.problem = err.Error()
			continue
		}
		m.samples = append(m.samples, sample)
	}
}

// build makes the programs that are compared and the one that measures them.
func build(interrupted context.Context, folder string) error {
	root, err := exec.CommandContext(interrupted, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("bench must be started inside the repository: %w", err)
	}
	for name, source := range map[string]string{plain: ".", "gopsutil": "./bench/gopsutil", "measure": "./bench/measure"} {
		command := exec.CommandContext(interrupted, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(folder, name), source)
		command.Dir = strings.TrimSpace(string(root))
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", name, err, output)
		}
	}
	return nil
}

// commands lists what is compared. The programs that were built are in the
// folder, the others are those of the system: psutil is that of the
// distribution, not of some other Python earlier in PATH.
func commands(folder string) []command {
	check := filepath.Join(folder, plain)
	list := []command{
		{name: plain, arguments: []string{check}},
		{name: ss, arguments: strings.Fields(ss)},
		{name: netstat, arguments: strings.Fields(netstat)},
		{name: psutil, arguments: []string{"/usr/bin/python3", "-c", psutilProgram}},
		{name: gopsutil, arguments: []string{filepath.Join(folder, "gopsutil")}},
	}
	for _, variant := range []string{closeWait, byLocalPort, byPeerAddress, byProcess, minIdle} {
		flags := strings.Fields(variant)[1:]
		list = append(list, command{name: variant, arguments: append([]string{check}, flags...), variant: true})
	}
	return list
}

// try runs a command once and returns what it said if it failed.
func try(interrupted context.Context, arguments []string) string {
	limited, cancel := context.WithTimeout(interrupted, longest)
	defer cancel()
	output, err := exec.CommandContext(limited, arguments[0], arguments[1:]...).CombinedOutput()
	if err == nil {
		return ""
	}
	lines := slices.Collect(strings.Lines(strings.TrimSpace(string(output))))
	if len(lines) == 0 {
		return err.Error()
	}
	// Python says what is wrong at the end, the check at the beginning.
	if strings.HasPrefix(lines[0], "Traceback") {
		return lines[len(lines)-1]
	}
	return strings.TrimSpace(lines[0])
}

// run measures one run of a command.
func run(interrupted context.Context, measure string, arguments []string) (sample, error) {
	path, err := exec.LookPath(arguments[0])
	if err != nil {
		return sample{}, err
	}
	limited, cancel := context.WithTimeout(interrupted, longest)
	defer cancel()
	command := exec.CommandContext(limited, measure, append([]string{path}, arguments[1:]...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errorOutput bytes.Buffer
	command.Stderr = &errorOutput
	output, err := command.Output()
	if limited.Err() != nil {
		return sample{}, fmt.Errorf("did not end in %s", longest)
	}
	if err != nil {
		return sample{}, fmt.Errorf("%w %s", err, errorOutput.Bytes())
	}
	var nanoseconds, kib, code int
	if _, err := fmt.Sscan(string(output), &nanoseconds, &kib, &code); err != nil {
		return sample{}, err
	}
	if code != 0 {
		return sample{}, fmt.Errorf("exit code %d", code)
	}
	return sample{time.Duration(nanoseconds), kib << 10}, nil
}

// middle returns the median time and the median peak memory in bytes, each on
// its own, and false if there is none.
func (m *measurement) middle() (took, memory float64, ok bool) {
	if m == nil || m.problem != "" || len(m.samples) == 0 {
		return 0, 0, false
	}
	var times, memories []float64
	for _, sample := range m.samples {
		times = append(times, sample.took.Seconds())
		memories = append(memories, float64(sample.memory))
	}
	return median(times), median(memories), true
}

func median(values []float64) float64 {
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}
