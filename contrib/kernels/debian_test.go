//go:build linux

package kernels_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

// files returns the kernel as "vmlinuz", those of its modules that are wanted,
// and a busybox for its processor.
func (k kernel) files(t *testing.T) map[string][]byte {
	t.Helper()
	e2e.Need(t, "apt dpkg", "apt-get", "apt-cache", "dpkg-deb")
	files := map[string][]byte{}
	for _, path := range k.packagesOf(t) {
		if err := unpack(path, files); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if files["vmlinuz"] == nil || files["busybox"] == nil {
		t.Fatal("the packages have no kernel or no busybox")
	}
	return files
}

// packagesOf returns the paths of the packages of the kernel and of busybox.
// They are downloaded once and kept in the user's cache: who wants newer ones
// removes them.
func (k kernel) packagesOf(t *testing.T) []string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(cache, "check_network_connections", "kernels", k.version+"-"+k.processor)
	if _, err := os.Stat(folder); err != nil {
		k.fill(t, folder)
	}
	packages, err := filepath.Glob(filepath.Join(folder, "*.deb"))
	if err != nil || len(packages) != 2 {
		t.Fatalf("want the packages of a kernel and of busybox: %q, %v", packages, err)
	}
	return packages
}

// fill makes the folder, with all that was downloaded in it or not at all.
func (k kernel) fill(t *testing.T, folder string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		t.Fatal(err)
	}
	download, err := os.MkdirTemp(filepath.Dir(folder), "download-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(download) })
	if err := k.download(download, t.TempDir()); err != nil {
		e2e.Skip(t, "no kernel to be had: "+err.Error())
	}
	if err := os.Rename(download, folder); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
}

// unpack takes what is wanted out of a package.
func unpack(path string, files map[string][]byte) error {
	command := exec.Command("dpkg-deb", "--fsys-tarfile", path)
	pipe, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	err = pick(tar.NewReader(pipe), files)
	_, rest := io.Copy(io.Discard, pipe) // what fills the archive up
	return errors.Join(err, rest, command.Wait())
}

// pick reads an archive to its end.
func pick(content *tar.Reader, files map[string][]byte) error {
	for {
		header, err := content.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if name := wanted(header.Name); name != "" && header.Typeflag == tar.TypeReg {
			if files[name], err = io.ReadAll(content); err != nil {
				return err
			}
		}
	}
}

// wanted returns the name that a file of a package is known by, or "".
func wanted(path string) string {
	folder, name := filepath.Split(path)
	switch {
	case strings.HasPrefix(path, "./boot/vmlinuz-"):
		return "vmlinuz"
	case name == "busybox" && strings.HasSuffix(folder, "/bin/"):
		return name
	}
	module, _, isModule := strings.Cut(name, ".ko") // .ko.xz in newer releases
	if isModule && slices.Contains(modules, module) {
		return name
	}
	return ""
}

var dependency = regexp.MustCompile(`(?m)^ *Depends: (linux-image-\S+)`)

// download has apt download both packages into a folder. What apt keeps goes
// into another one, so that the system's own packages stay as they are, and
// nobody needs to be root.
func (k kernel) download(folder, own string) error {
	for _, name := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(own, name), 0o755); err != nil {
			return err
		}
	}
	mirror, err := debianMirror()
	if err != nil {
		return err
	}
	sources := filepath.Join(own, "sources.list")
	line := fmt.Sprintf("deb [target=Packages arch=%s signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n", k.processor, mirror, k.suite)
	if err := os.WriteFile(sources, []byte(line), 0o644); err != nil {
		return err
	}
	apt := func(program string, arguments ...string) (string, error) {
		return printedBy(folder, program, append([]string{
			"-o", "Dir::Etc::SourceList=" + sources,
			"-o", "Dir::Etc::SourceParts=/dev/null",
			"-o", "Dir::State::Lists=" + filepath.Join(own, "lists"),
			"-o", "Dir::Cache=" + filepath.Join(own, "cache"),
			"-o", "APT::Architectures::=" + k.processor,
			"-o", "APT::Sandbox::User=",
			"-o", "Acquire::Languages=none",
			"-o", "Acquire::Retries=3",
		}, arguments...)...)
	}
	if _, err := apt("apt-get", "update"); err != nil {
		return err
	}
	depends, err := apt("apt-cache", "depends", k.image+":"+k.processor)
	if err != nil {
		return err
	}
	build := dependency.FindStringSubmatch(depends)
	if build == nil {
		return fmt.Errorf("%s depends on no kernel:\n%s", k.image, depends)
	}
	image, _, _ := strings.Cut(build[1], ":")
	_, err = apt("apt-get", "download", image+":"+k.processor, "busybox-static:"+k.processor)
	return err
}

// debianMirror returns where this system has its own packages from.
func debianMirror() (string, error) {
	mirrors, err := printedBy("", "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main")
	if err != nil {
		return "", err
	}
	mirror, _, _ := strings.Cut(mirrors, "\n")
	if mirror == "" {
		return "", errors.New("apt knows no packages of Debian: run apt-get update")
	}
	return mirror, nil
}

// printedBy runs a program in a folder, and returns what it printed.
func printedBy(folder, program string, arguments ...string) (string, error) {
	command := exec.Command(program, arguments...)
	command.Dir = folder
	var complaints strings.Builder
	command.Stderr = &complaints
	printed, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", command, err, &complaints)
	}
	return string(printed), nil
}
