//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// built are the programs that are compared, and the one that measures them.
type built struct {
	folder   string
	baseline string // the path of the older check, if there is one
}

// build makes the programs in an empty folder. The baseline is the path of an
// executable or a git revision.
func build(interrupted context.Context, folder, baseline string) (*built, error) {
	listed, err := exec.CommandContext(interrupted, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("bench must be started inside the repository: %w", err)
	}
	root := strings.TrimSpace(string(listed))
	for _, name := range []string{"gopsutil", "measure", "bpfcount"} {
		if err := goBuild(interrupted, root, "./bench/"+name, filepath.Join(folder, name)); err != nil {
			return nil, err
		}
	}
	if err := goBuild(interrupted, root, ".", filepath.Join(folder, plain)); err != nil {
		return nil, err
	}
	result := &built{folder: folder}
	if baseline != "" {
		result.baseline, err = buildBaseline(interrupted, root, baseline, folder)
	}
	return result, err
}

// goBuild builds a package of the module in a folder in the way that
// releases are built.
func goBuild(interrupted context.Context, module, source, program string) error {
	c := exec.CommandContext(interrupted, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, source)
	c.Dir = module
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", source, err, output)
	}
	return install(program)
}

// install writes the program anew, as a package manager does. What the linker has
// written through a mapping lies in single pages of the page cache, so that each
// start takes more page faults, and a different number after each build.
func install(program string) error {
	content, err := os.ReadFile(program)
	if err == nil {
		err = os.Remove(program)
	}
	if err == nil {
		err = os.WriteFile(program, content, 0o755)
	}
	return err
}

// buildBaseline returns the path of the older check, which it builds from git
// unless there is a file of that name.
func buildBaseline(interrupted context.Context, root, baseline, folder string) (string, error) {
	if info, err := os.Stat(baseline); err == nil && info.Mode().IsRegular() {
		return filepath.Abs(baseline)
	}
	source, archive := filepath.Join(folder, "source"), filepath.Join(folder, "source.tar")
	if err := os.Mkdir(source, 0o755); err != nil {
		return "", err
	}
	for _, arguments := range [][]string{
		{"git", "-C", root, "archive", "--output=" + archive, "--end-of-options", baseline},
		{"tar", "-x", "-f", archive, "-C", source},
	} {
		if output, err := exec.CommandContext(interrupted, arguments[0], arguments[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("--baseline is no file, and as a git revision: %w: %s", err, strings.TrimSpace(string(output)))
		}
	}
	program := filepath.Join(folder, "baseline")
	return program, goBuild(interrupted, source, ".", program)
}
