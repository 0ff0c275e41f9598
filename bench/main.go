//go:build linux

// Command bench compares check_network_connections with other ways to count
// sockets on the same machine in the same run:
//
//	go run ./bench
//	go run ./bench --sockets 500000,1000000 --rounds 5
//
// It prints a table with the median time and the median peak memory of whole
// processes, and how they stand to the targets. As root it makes its sockets in
// a network namespace of its own; without root in the one it is started in,
// where other sockets are counted too and large loads take ports from others.
//
//	go run ./bench load --sockets 100000
//
// makes the same sockets where it is started and keeps them until it is
// interrupted, to look at them in other ways.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peers is the number of remote addresses that the targets speak of.
const peers = 100

func main() {
	var err error
	command := ""
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	switch command {
	case holdCommand:
		err = hold(os.Args[2:])
	case "load":
		err = loadCommand(os.Args[2:])
	default:
		err = compareCommand(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// untilInterrupted returns a context that ends with the first signal, so that
// everything is cleaned up before the program ends.
func untilInterrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

func loadCommand(arguments []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	var shape Shape
	flags.IntVar(&shape.Sockets, "sockets", 10_000, "number of established sockets, both ends counted")
	flags.IntVar(&shape.Processes, "processes", 0, "number of processes that hold them (default by number)")
	flags.IntVar(&shape.Peers, "peers", peers, "number of remote addresses")
	flags.DurationVar(&shape.Limit, "time", 10*time.Minute, "end after this time")
	_ = flags.Parse(arguments)

	runtime.LockOSThread()
	interrupted, cancel := untilInterrupted()
	defer cancel()
	ended := time.After(shape.Limit)
	// The limit of the processes is for when this one cannot end them.
	shape.Limit += 10 * time.Second
	load, err := startLoad(shape)
	if err != nil {
		return err
	}
	fmt.Printf("%d sockets in %d processes, %d peers\n", load.Sockets, load.Processes, load.Peers)
	select {
	case <-interrupted.Done():
	case <-ended:
	}
	// Interrupted from the keyboard, its processes are too: no error.
	_ = load.stop()
	return nil
}

func compareCommand(arguments []string) error {
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	sizes := flags.String("sockets", "0,10000,100000", "numbers of established sockets to measure with")
	rounds := flags.Int("rounds", 25, "how often each command runs")
	slowRounds := flags.Int("slow-rounds", 3, "how often a command runs that takes longer than a second")
	check := flags.Bool("check", false, "fail when a target is missed, or could not be measured with a number of sockets that was asked for")
	_ = flags.Parse(arguments)
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown command %q", flags.Arg(0))
	}
	if *rounds < 1 || *slowRounds < 1 {
		return errors.New("there must be at least one round")
	}
	var numbers []int
	for field := range strings.SplitSeq(*sizes, ",") {
		number, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil {
			return fmt.Errorf("--sockets: %q is not a number", field)
		}
		if _, err := (Shape{Sockets: number, Peers: peers}).complete(); err != nil {
			return fmt.Errorf("--sockets: %w", err)
		}
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)

	interrupted, cancel := untilInterrupted()
	defer cancel()
	results, err := compare(interrupted, slices.Compact(numbers), *rounds, *slowRounds)
	if err != nil {
		return err
	}
	verdicts := results.judge()
	results.print(os.Stdout)
	printVerdicts(os.Stdout, verdicts)
	if *check && slices.ContainsFunc(verdicts, func(v verdict) bool { return v.failed() }) {
		return errors.New("not all targets are reached")
	}
	return nil
}
