//go:build linux

// Command bench compares check_network_connections with other ways to count
// sockets, and with an older version of itself, on the same machine in the
// same run. The tables of the README are made by
//
//	go run ./bench --baseline REVISION
//
// where REVISION is what git knows of the older version; an executable will
// do, too. That takes some ten minutes on a machine with nothing else to do, 6
// GiB of memory, and root, who has the sockets in network namespaces of their
// own. Without root only the load "established" can be made, where bench is
// started: other sockets are counted too, and large loads take ports from
// others. With fewer loads it is quicker:
//
//	go run ./bench --loads established,proxy --sockets 0,100000 --rounds 5
//	go run ./bench --loads established=2000,incoming=5000
//
// It prints a table with the medians of time, CPU time and peak memory of
// whole processes, and how they stand to the targets. The loads are:
//
//   - established: both ends of connections on loopback, half of them IPv6
//   - proxy: the ends in TIME_WAIT of connections to a hundred servers
//   - leak: the ends in CLOSE_WAIT of connections whose clients are gone
//   - outgoing: half of them the clients' ends, on 28,000 ephemeral ports, and
//     half the servers' ends, on port 443
//   - incoming: the servers' ends, on port 443 (and the next, as ::1 is one
//     client with 60,000 ports), without any client
//   - matches: established, but for one in 500 that is incoming
//   - namespaces: network namespaces with one listening socket each, besides
//     those that the machine has anyway
//
// A socket without the other end is made with TCP_REPAIR, as for a process
// that has moved here from another machine.
//
//	go run ./bench load --kind established --sockets 100000
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
	"syscall"
	"time"
)

func main() {
	var err error
	name := ""
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	switch name {
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
	var s shape
	flags.StringVar(&s.kind, "kind", established, "which load")
	flags.IntVar(&s.sockets, "sockets", 10_000, "number of sockets; both ends count where both are there")
	flags.IntVar(&s.processes, "processes", 0, "number of processes that hold them (default by number)")
	flags.IntVar(&s.peers, "peers", peers, "number of remote addresses")
	flags.DurationVar(&s.limit, "time", 10*time.Minute, "end after this time")
	_ = flags.Parse(arguments)

	runtime.LockOSThread()
	interrupted, cancel := untilInterrupted()
	defer cancel()
	ended := time.After(s.limit)
	// The limit of the processes is for when this one cannot end them.
	s.limit += 10 * time.Second
	held, err := startLoad(s)
	if err != nil {
		return err
	}
	fmt.Printf("%d sockets in %d processes, %d peers\n", s.sockets, len(held.holders), s.peers)
	select {
	case <-interrupted.Done():
	case <-ended:
	}
	// Interrupted from the keyboard, its processes are too: no error.
	_ = held.stop()
	return nil
}

func compareCommand(arguments []string) error {
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	var p plan
	names := flags.String("loads", allLoads(), "which loads to measure with, each as NAME or NAME=SOCKETS")
	sizes := flags.String("sockets", "0,10000,100000,500000,1000000", "numbers of sockets for the load established")
	flags.StringVar(&p.baseline, "baseline", "", "older version to compare with: a git revision or an executable")
	flags.IntVar(&p.rounds, "rounds", 15, "how often each command runs")
	flags.IntVar(&p.slowRounds, "slow-rounds", 3, "how often a command runs that takes longer than a second")
	check := flags.Bool("check", false, "fail when a target is missed, or could not be measured with a load that was asked for")
	_ = flags.Parse(arguments)
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown command %q", flags.Arg(0))
	}
	if p.rounds < 1 || p.slowRounds < 1 {
		return errors.New("there must be at least one round")
	}
	var err error
	if p.loads, err = parseLoads(*names, *sizes); err != nil {
		return err
	}

	interrupted, cancel := untilInterrupted()
	defer cancel()
	r, err := p.compare(interrupted)
	if err != nil {
		return err
	}
	verdicts := r.judge()
	r.print(os.Stdout)
	printVerdicts(os.Stdout, verdicts)
	if *check && slices.ContainsFunc(verdicts, verdict.failed) {
		return errors.New("not all targets are reached")
	}
	return nil
}
