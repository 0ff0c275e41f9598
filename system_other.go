//go:build !linux

package main

import "fmt"

// checkSystem returns an error where nothing reads the sockets of the system as
// they are.
func checkSystem(system string) error {
	if system == "windows" || usesLsof(system) {
		return nil
	}
	return fmt.Errorf("not supported on %s", system)
}
