//go:build linux

package kernels_test

import (
	"bytes"
	"context"
	_ "embed" // the scripts
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

var (
	//go:embed machine/init
	initScript []byte
	//go:embed machine/ip
	ipScript []byte
)

// hung is how long a machine may run: to end one that hangs, not to measure.
const hung = 10 * time.Minute

// boot runs a machine until it ends, and returns what was on its console.
func (k kernel) boot(t *testing.T, vmlinuz, archive []byte, parameters string) (string, error) {
	t.Helper()
	folder := t.TempDir()
	for name, content := range map[string][]byte{"vmlinuz": vmlinuz, "initramfs": archive} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), hung)
	defer cancel()
	command := exec.CommandContext(ctx, k.emulator[0], append(slices.Clone(k.emulator[1:]),
		"-accel", "tcg", "-m", "512", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", "vmlinuz", "-initrd", "initramfs",
		"-append", "console="+k.console+" loglevel=2 panic=-1 "+parameters)...)
	command.Dir = folder
	console, err := command.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("the machine did not end within %s", hung)
	}
	return strings.ReplaceAll(string(console), "\r\n", "\n"), err
}

// initramfs returns the archive of files that the machine starts with.
func initramfs(t *testing.T, files map[string][]byte, programs string, runs []run) []byte {
	t.Helper()
	var archive cpio
	for _, name := range []string{"bin", "sbin", "modules", "tests"} {
		archive.folder(name)
	}
	archive.add("bin/busybox", 0o755, files["busybox"])
	archive.add("init", 0o755, initScript)
	archive.add("sbin/ip", 0o755, ipScript)
	archive.add("plan", 0o644, []byte(plan(runs)))
	archive.addModules(files)
	for _, name := range []string{"check_network_connections", "root", "inside"} {
		content, err := os.ReadFile(filepath.Join(programs, name))
		if err != nil {
			t.Fatal(err)
		}
		archive.add("tests/"+name, 0o755, content)
	}
	archive.add("tests/go.mod", 0o644, nil) // by which the tests know where they are
	if err := archive.addTests(os.DirFS(e2e.Root()), "testdata"); err != nil {
		t.Fatal(err)
	}
	archive.header("TRAILER!!!", 0, 0)
	return archive.Bytes()
}

// plan is what the first process of the machine reads.
func plan(runs []run) string {
	var lines strings.Builder
	for _, r := range runs {
		fmt.Fprintf(&lines, "%s %s %s ^(%s)$\n", r.stage, r.user, r.binary, strings.Join(r.tests, "|"))
	}
	return lines.String()
}

// cpio is an archive in the format "newc", of which the kernel makes the
// first file system: Documentation/driver-api/early-userspace/buffer-format.rst.
type cpio struct {
	bytes.Buffer
	entries int
}

func (c *cpio) folder(name string) { c.header(name, 0o040755, 0) }

func (c *cpio) add(name string, mode fs.FileMode, content []byte) {
	c.header(name, 0o100000|mode, len(content))
	c.Write(content)
	c.pad()
}

func (c *cpio) header(name string, mode fs.FileMode, size int) {
	c.entries++
	// inode, mode, uid, gid, links, mtime, size, two devices, length of the name, checksum
	fmt.Fprintf(c, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.entries, uint32(mode), 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0)
	c.WriteString(name + "\x00")
	c.pad()
}

func (c *cpio) pad() {
	for c.Len()%4 != 0 {
		c.WriteByte(0)
	}
}

// addTests adds a folder with all that is in it to those of the tests.
func (c *cpio) addTests(root fs.FS, top string) error {
	return fs.WalkDir(root, top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			c.folder("tests/" + path)
			return nil
		}
		content, err := fs.ReadFile(root, path)
		c.add("tests/"+path, 0o644, content)
		return err
	})
}

// addModules adds those modules that the kernel has not built in, and a list
// of them. busybox loads compressed ones as well.
func (c *cpio) addModules(files map[string][]byte) {
	var order strings.Builder
	for _, module := range modules {
		for _, name := range []string{module + ".ko", module + ".ko.xz"} {
			if content := files[name]; content != nil {
				c.add("modules/"+name, 0o644, content)
				fmt.Fprintln(&order, name)
			}
		}
	}
	c.add("modules/order", 0o644, []byte(order.String()))
}
