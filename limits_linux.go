package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// ephemeralPorts returns the ephemeral ports of all network namespaces that are
// read.
func (h *host) ephemeralPorts() (ephemeralPorts, error) {
	all := ephemeralPorts{spaces: map[uint64]portSpace{}, names: map[uint64]string{}}
	for _, space := range h.spaces {
		var ports portSpace
		err := space.within(func() (err error) {
			ports, err = h.portSpace()
			return err
		})
		switch {
		case errors.Is(err, errVanished):
			continue
		case err != nil:
			return ephemeralPorts{}, fmt.Errorf("the ephemeral ports are not known: %w", err)
		}
		all.spaces[space.inode], all.names[space.inode] = ports, space.name
	}
	return all, nil
}

// portSpace returns the ephemeral ports of the network namespace that the
// calling thread is in.
func (p procfs) portSpace() (portSpace, error) {
	limits, err := p.setting("net/ipv4/ip_local_port_range")
	if err != nil {
		return portSpace{}, err
	}
	reserved, err := p.setting("net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return portSpace{}, err
	}
	return parsePortSpace(limits, reserved)
}

// maxSetting is more than the longest list of ports takes: every other one.
const maxSetting = 256 << 10

// setting returns the value of a kernel setting, see proc_sys(5). The kernel
// gives only what the first read has room for, and nothing more at the next one.
func (p procfs) setting(name string) (string, error) {
	file, err := os.Open(filepath.Join(string(p), "sys", name))
	if err != nil {
		return "", err
	}
	defer file.Close()
	content := make([]byte, maxSetting)
	n, err := file.Read(content)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(string(content[:n])), nil
}
