//go:build !unix

package e2e

import "os/exec"

func ownProcessGroup(*exec.Cmd) {}

// endProcessGroup does nothing: there is no polite way.
func endProcessGroup(*exec.Cmd) {}

func killProcessGroup(command *exec.Cmd) { _ = command.Process.Kill() }
