//go:build linux

// Command measure runs a command without its output and prints one line: the
// nanoseconds it took, those that it used a processor for, its peak memory in
// KiB, and its exit code.
//
// It is a program of its own because it has to be small. The kernel counts the
// memory of the process that starts a command into the command's peak, so
// nothing below the size of that process can be measured.
package main

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func main() {
	// The command is told when this thread ends, not when this process does.
	runtime.LockOSThread()
	input, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		fail(err)
	}
	output, err := syscall.Open("/dev/null", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		fail(err)
	}
	start := time.Now()
	process, err := syscall.ForkExec(os.Args[1], os.Args[1:], &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{uintptr(input), uintptr(output), uintptr(output)},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		fail(err)
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for {
		if _, err = syscall.Wait4(process, &status, 0, &usage); err != syscall.EINTR {
			break
		}
	}
	took := time.Since(start)
	if err != nil {
		fail(err)
	}
	used := usage.Utime.Nano() + usage.Stime.Nano()
	// Package fmt alone would add a quarter to the size.
	_, _ = os.Stdout.WriteString(strconv.FormatInt(took.Nanoseconds(), 10) + " " +
		strconv.FormatInt(used, 10) + " " +
		strconv.FormatInt(int64(usage.Maxrss), 10) + " " + strconv.Itoa(status.ExitStatus()) + "\n")
}

func fail(err error) {
	_, _ = os.Stderr.WriteString(os.Args[1] + ": " + err.Error() + "\n")
	os.Exit(1)
}
