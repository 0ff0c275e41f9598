//go:build !linux

package main

// outputIsClosed tells whether the program was started without a standard
// output, which only Linux lets it see.
func outputIsClosed() bool { return false }

// outputBlocks tells whether a write to standard output may wait for its reader.
// Where nothing says so, it may.
func outputBlocks() bool { return true }
