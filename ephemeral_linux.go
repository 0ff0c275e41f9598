package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ports returns the ephemeral ports of the namespace.
func (n namespace) ports() (portSpace, error) {
	var space portSpace
	err := n.within(func() error {
		limits, err := readSetting("ip_local_port_range")
		if err != nil {
			return err
		}
		reserved, err := readSetting("ip_local_reserved_ports")
		if err != nil {
			return err
		}
		space, err = parsePortSpace(limits, reserved)
		return err
	})
	if err != nil {
		return portSpace{}, fmt.Errorf("the ephemeral ports are not known: %w", err)
	}
	return space, nil
}

// maxSetting is more than the longest list of ports takes: every other one.
const maxSetting = 256 << 10

// readSetting returns net.ipv4.NAME. The kernel gives only what the first read
// has room for, and nothing more at the next one.
func readSetting(name string) (string, error) {
	file, err := os.Open("/proc/sys/net/ipv4/" + name)
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

// parsePortSpace reads net.ipv4.ip_local_port_range and
// net.ipv4.ip_local_reserved_ports.
func parsePortSpace(limits, reserved string) (portSpace, error) {
	ports, ok := parsePortRange(strings.Join(strings.Fields(limits), "-"))
	if !ok {
		return portSpace{}, fmt.Errorf("net.ipv4.ip_local_port_range is no range: %s", quote(limits))
	}
	space := portSpace{portRange: ports}
	if reserved == "" {
		return space, nil
	}
	for item := range strings.SplitSeq(reserved, ",") {
		ports, ok := parsePortRange(item)
		if !ok {
			return portSpace{}, fmt.Errorf("net.ipv4.ip_local_reserved_ports is no list of ports: %s", quote(reserved))
		}
		space.reserved = append(space.reserved, ports)
	}
	return space, nil
}
