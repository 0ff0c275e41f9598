package packaging_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"check_network_connections/contrib/e2e"

	"golang.org/x/sys/unix"
)

var upgraded struct {
	sync.Once
	folder string
	err    error
}

// upgrade makes the next release once, only for this machine, and returns the
// folder with its packages.
func upgrade(t testing.TB) string {
	t.Helper()
	first := release(t)
	upgraded.Do(func() {
		folder := filepath.Join(work, "next")
		configuration, err := os.ReadFile(filepath.Join(first, ".goreleaser.yml"))
		if err != nil {
			upgraded.err = err
			return
		}
		other := regexp.MustCompile(`(?m)^      - (linux|windows|darwin|freebsd)_.*\n`)
		text := other.ReplaceAllStringFunc(string(configuration), func(line string) string {
			if strings.HasPrefix(line, "      - linux_"+runtime.GOARCH+"\n") {
				return line
			}
			return ""
		})
		file := filepath.Join(work, "next.yml")
		if upgraded.err = os.WriteFile(file, []byte(text), 0o644); upgraded.err != nil {
			return
		}
		upgraded.folder = filepath.Join(folder, "dist")
		_, upgraded.err = shell(work, `
			git clone --quiet first next
			cd next
			git -c user.name=Test -c user.email=test@test.invalid commit --quiet --allow-empty --message next
			git tag v`+nextVersion+`
			goreleaser release --clean --skip=publish --config `+file)
	})
	if upgraded.err != nil {
		t.Fatal(upgraded.err)
	}
	return upgraded.folder
}

// give does to the plugin what SECURITY.md says: only the monitoring system may
// run it, and it sees the processes of others. It returns what the file has then.
func give(t *testing.T, file string) string {
	t.Helper()
	group, err := user.LookupGroup("nagios")
	if err != nil {
		e2e.Skip(t, "the group nagios is missing: apt-get install icinga2-common")
	}
	gid, _ := strconv.Atoi(group.Gid)
	if err := os.Chown(file, 0, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o750); err != nil {
		t.Fatal(err)
	}
	// cap_dac_read_search,cap_sys_ptrace+ep, as setcap writes it (linux/capability.h)
	capabilities := make([]byte, 20)
	binary.LittleEndian.PutUint32(capabilities, 0x02000001)
	binary.LittleEndian.PutUint32(capabilities[4:], 1<<unix.CAP_DAC_READ_SEARCH|1<<unix.CAP_SYS_PTRACE)
	if err := unix.Setxattr(file, "security.capability", capabilities, 0); err != nil {
		e2e.Skip(t, "no capabilities on files here: "+err.Error())
	}
	return attributesOf(t, file)
}

// attributesOf returns owner, mode and capabilities of a file.
func attributesOf(t *testing.T, file string) string {
	t.Helper()
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	capabilities := make([]byte, 100)
	size, err := unix.Getxattr(file, "security.capability", capabilities)
	if err != nil {
		size = 0
	}
	owner := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %v %x", owner.Uid, owner.Gid, info.Mode(), capabilities[:size])
}

// copyProgram copies a program and its libraries to where a chroot finds them.
func copyProgram(t *testing.T, root, name string) {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	copies := map[string]string{file: "/bin/" + name}
	for _, library := range regexp.MustCompile(`/\S+`).FindAllString(e2e.Run(t, "ldd", file), -1) {
		copies[library] = library
	}
	for from, to := range copies {
		if err := os.MkdirAll(filepath.Dir(root+to), 0o755); err != nil {
			t.Fatal(err)
		}
		e2e.Run(t, "cp", "--dereference", from, root+to)
	}
}
