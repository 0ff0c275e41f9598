package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// limits reads the limits that are asked for, of all network namespaces that are
// read: of each the fullest one.
func (h *host) limits(isAsked func(limitRow) bool) (all []limit, err error) {
	if !slices.ContainsFunc(limitRows, isAsked) {
		return nil, nil
	}
	ports, queues := ephemeralPorts{}, backlogs{}
	quotas := map[limitRow]quota{}
	for _, space := range h.spaces {
		err := space.within(func() error {
			if isAsked(limitEphemeral) {
				found, err := h.portSpace()
				if err != nil {
					return fmt.Errorf("the ephemeral ports are not known: %w", err)
				}
				found.name = space.name
				ports[space.inode] = found
			}
			if isAsked(limitBacklog) {
				most, err := h.halfOpenMax()
				if err != nil {
					return err
				}
				queues[space.inode] = backlogSpace{space.name, most}
			}
			return h.addQuotas(quotas, isAsked, space)
		})
		if err != nil && !errors.Is(err, errVanished) {
			return nil, err
		}
	}
	for _, kind := range limitRows {
		switch {
		case !isAsked(kind):
		case kind == limitEphemeral:
			all = append(all, ports)
		case kind == limitBacklog:
			all = append(all, queues)
		default:
			all = append(all, quotas[kind])
		}
	}
	return all, nil
}

// addQuotas keeps the fullest quota of each kind. A host does not have them all:
// without connection tracking, or in a container, some files are not there.
func (h *host) addQuotas(quotas map[limitRow]quota, isAsked func(limitRow) bool, space namespace) error {
	for kind, read := range map[limitRow]func() (quota, error){
		limitConntrack: h.conntrack, limitMemory: h.tcpMemory, limitFiles: h.openFiles,
		limitOrphans:  func() (quota, error) { return h.tcpQuota("orphan", "net/ipv4/tcp_max_orphans", 0) },
		limitTimeWait: func() (quota, error) { return h.tcpQuota("tw", "net/ipv4/tcp_max_tw_buckets", 0) },
	} {
		if !isAsked(kind) {
			continue
		}
		found, err := read()
		if err != nil && (!h.isMissing(err) || kind == limitFiles) { // which every host has
			return fmt.Errorf("%s cannot be told: %w", kind.title, err)
		}
		found.limitRow = kind
		if isOfNamespace := kind == limitConntrack || kind == limitTimeWait; isOfNamespace && space.name != "" {
			found.where = " in " + cleanName(space.name)
		}
		best, isThere := quotas[kind]
		if !isThere || best.size == 0 || found.size > 0 && found.used*best.size > best.used*found.size {
			quotas[kind] = found
		}
	}
	return nil
}

// isMissing tells whether the host lacks a setting, and not just our view of it all
// settings, as with systemd's ProcSubset=pid.
func (p procfs) isMissing(err error) bool {
	if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, fault := p.setting(localPortRange)
	return fault == nil
}

func (p procfs) conntrack() (quota, error) {
	used, err := p.numbers("net/netfilter/nf_conntrack_count", 1)
	if err != nil {
		return quota{}, err
	}
	size, err := p.numbers("net/netfilter/nf_conntrack_max", 1)
	if err != nil {
		return quota{}, err
	}
	return quota{used: used[0], size: size[0]}, nil
}

// tcpQuota reads a number of TCP in sockstat, and the setting that limits it,
// which has that at an index.
func (p procfs) tcpQuota(name, setting string, index int) (quota, error) {
	size, err := p.numbers(setting, index+1)
	if err != nil {
		return quota{}, err
	}
	used, err := p.sockstat("sockstat", "TCP: "+name)
	if err != nil {
		return quota{}, err
	}
	return quota{used: float64(used[0]), size: size[index]}, nil
}

func (p procfs) tcpMemory() (quota, error) {
	pages, err := p.tcpQuota("mem", "net/ipv4/tcp_mem", 2)
	pageSize := float64(os.Getpagesize())
	return quota{used: pages.used * pageSize, size: pages.size * pageSize, unit: "bytes"}, err
}

func (p procfs) openFiles() (quota, error) {
	found, err := p.numbers("fs/file-nr", 3)
	if err != nil {
		return quota{}, err
	}
	return quota{used: found[0] - found[1], size: found[2]}, nil
}

// sockstat returns numbers from /proc/net/sockstat or sockstat6 in the network
// namespace of the calling thread, each by its line and its name: "TCP: inuse".
func (p procfs) sockstat(file string, wanted ...string) ([]int, error) {
	content, err := p.read("thread-self/net/"+file, 4<<10)
	if err != nil {
		return nil, err
	}
	found := make([]int, len(wanted))
	for i, name := range wanted {
		line, name, _ := strings.Cut(name, " ")
		_, rest, _ := strings.Cut("\n"+string(content), "\n"+line+" ")
		rest, _, _ = strings.Cut(rest, "\n")
		words := strings.Fields(rest)
		at := slices.Index(words, name) + 1
		if at == 0 || at == len(words) {
			return nil, fmt.Errorf("%s/thread-self/net/%s has no %s in its line %s", p, file, name, line)
		}
		if found[i], err = strconv.Atoi(words[at]); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// halfOpenMax returns how many half-open connections there may be without
// syncookies, 0 with them: tcp_conn_request in net/ipv4/tcp_input.c keeps a
// quarter of net.ipv4.tcp_max_syn_backlog for peers that it knows.
func (p procfs) halfOpenMax() (int, error) {
	cookies, err := p.numbers("net/ipv4/tcp_syncookies", 1)
	if err == nil && cookies[0] != 0 {
		return 0, nil
	}
	var most []float64
	if err == nil || p.isMissing(err) { // there are none without CONFIG_SYN_COOKIES
		most, err = p.numbers("net/ipv4/tcp_max_syn_backlog", 1)
	}
	switch {
	case err == nil:
		return int(most[0]) - int(most[0])/4 + 1, nil
	case p.isMissing(err):
		return 0, nil
	}
	return 0, fmt.Errorf("%s cannot be told: %w", limitBacklog.title, err)
}

const (
	localPortRange = "net/ipv4/ip_local_port_range"
	reservedPorts  = "net/ipv4/ip_local_reserved_ports" // the one setting that can be long
)

// portSpace returns the ephemeral ports of the network namespace that the
// calling thread is in.
func (p procfs) portSpace() (portSpace, error) {
	limits, err := p.setting(localPortRange)
	if err != nil {
		return portSpace{}, err
	}
	reserved, err := p.setting(reservedPorts)
	if err != nil {
		return portSpace{}, err
	}
	space, err := parsePortSpace(limits, reserved)
	if err != nil {
		return portSpace{}, err
	}
	space.delay = time.Second
	if delay, err := p.numbers("net/ipv4/tcp_tw_reuse_delay", 1); err == nil { // milliseconds
		space.delay = time.Duration(delay[0]) * time.Millisecond
	}
	reuse, err := p.numbers("net/ipv4/tcp_tw_reuse", 1)
	stamps, fault := p.numbers("net/ipv4/tcp_timestamps", 1)
	if err == nil && fault == nil && stamps[0] != 0 {
		space.reuse = int(reuse[0])
	}
	return space, nil
}

// numbers returns the first numbers of a setting.
func (p procfs) numbers(name string, atLeast int) (all []float64, err error) {
	text, err := p.setting(name)
	if err != nil {
		return nil, err
	}
	for _, word := range strings.Fields(text) {
		number, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is no number: %s", name, quote(word))
		}
		all = append(all, number)
	}
	if len(all) < atLeast {
		return nil, fmt.Errorf("%s has %d numbers, not %d", name, len(all), atLeast)
	}
	return all, nil
}

// maxSetting is more than the longest list of ports takes: every other one.
const maxSetting = 256 << 10

// setting returns the value of a kernel setting, see proc_sys(5).
func (p procfs) setting(name string) (string, error) {
	size := 4 << 10
	if name == reservedPorts {
		size = maxSetting
	}
	content, err := p.read("sys/"+name, size)
	return strings.TrimSpace(string(content)), err
}
