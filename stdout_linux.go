package main

import "golang.org/x/sys/unix"

// outputIsClosed tells whether the program was started without a standard
// output. Go then opens /dev/null in its place, for reading and writing, where
// every write succeeds. Somebody who throws the output away on purpose opens it
// for writing only.
func outputIsClosed() bool {
	var status unix.Stat_t
	if err := unix.Fstat(unix.Stdout, &status); err != nil {
		return true
	}
	// Documentation/admin-guide/devices.txt of the kernel has the numbers.
	isNull := status.Mode&unix.S_IFMT == unix.S_IFCHR && uint64(status.Rdev) == unix.Mkdev(1, 3)
	flags, err := unix.FcntlInt(uintptr(unix.Stdout), unix.F_GETFL, 0)
	return err != nil || isNull && flags&unix.O_ACCMODE == unix.O_RDWR
}

// outputBlocks tells whether a write to standard output would wait for its reader,
// as poll(2) says.
func outputBlocks() bool {
	ready, err := unix.Poll([]unix.PollFd{{Fd: int32(unix.Stdout), Events: unix.POLLOUT}}, 0)
	return err == nil && ready == 0
}
