package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/net"
)

// fixture is what --test judges in place of the live system: what a reading
// printed on its outputs, and its exit code.
type fixture struct {
	path       string // a JSON array of connections
	errorsPath string // a file that is empty unless the reading failed; may be ""
	exitCode   int
}

// parseRecording reads STDOUT[,STDERR[,RETC]].
func parseRecording(text string) (*fixture, error) {
	parts := strings.Split(text, ",")
	if parts[0] == "" || len(parts) > 3 {
		return nil, fmt.Errorf("%s is not STDOUT[,STDERR[,RETC]]: use a file, a file and an exit code", quote(text))
	}
	recording := &fixture{path: parts[0]}
	if len(parts) > 1 {
		recording.errorsPath = parts[1]
	}
	if len(parts) > 2 && parts[2] != "" {
		code, err := strconv.Atoi(parts[2])
		if err != nil {
			return nil, fmt.Errorf("the exit code %s is not a whole number", quote(parts[2]))
		}
		recording.exitCode = code
	}
	return recording, nil
}

// recordedConnection is an element of a recording: a gopsutil connection as it
// marshals itself, or only the name of the type and the status.
type recordedConnection struct {
	net.ConnectionStat
	Local  *net.Addr `json:"localaddr"`
	Remote *net.Addr `json:"remoteaddr"`
	Proto  *string   `json:"proto"`
	Unit   *string   `json:"unit"`
}

// dumps returns the one dump that has all of the recording.
func (r *fixture) dumps(context.Context, []*tally) []dump {
	return []dump{{sources: []source{{"the recording", func(to counter) error {
		if err := r.check(); err != nil {
			return err
		}
		var sockets []socket
		if err := r.each(func(s *socket) { sockets = append(sockets, *s) }); err != nil {
			return err
		}
		orientAll(sockets, func(*socket) bool { return true }, to)
		return nil
	}}}}}
}

// each calls the function with each socket of the recording.
//
// The errors name the files but never show what is in them: the check may run
// with more rights than the one who chose the path.
func (r *fixture) each(do func(*socket)) error {
	file, err := openRecording(r.path)
	if err != nil {
		return err
	}
	defer file.Close()
	malformed := func(what string) error { return fmt.Errorf("the recording %s is malformed: %s", quote(r.path), what) }
	decoder := json.NewDecoder(file)
	if token, err := decoder.Token(); err != nil || token != json.Delim('[') {
		return malformed("it must be a JSON array of connections")
	}
	for number := 1; decoder.More(); number++ {
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return malformed("it is not valid JSON")
		}
		one, err := parseRecorded(raw)
		if err != nil {
			return malformed(fmt.Sprintf("connection %d: %v", number, err))
		}
		if one.proto != "" { // neither TCP nor UDP
			do(&one)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return malformed("the array does not end")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return malformed("something follows the array")
	}
	return nil
}

// parseRecorded reads one element of a recording. Its errors tell nothing of
// what the element holds.
func parseRecorded(raw []byte) (socket, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return socket{}, errors.New("it must be an object")
	}
	var recorded recordedConnection
	if err := json.Unmarshal(raw, &recorded); err != nil {
		return socket{}, errors.New("a field has a value of the wrong kind")
	}
	s := socket{ConnectionStat: recorded.ConnectionStat, owner: owner{process: hidden, unit: hidden}, netns: hidden, idle: -1}
	if recorded.Unit != nil {
		s.unit = *recorded.Unit
		if isTold(s.unit) {
			s.unit = givenName(s.unit)
		}
	}
	switch {
	case recorded.Proto != nil && !slices.Contains(socketTypes, *recorded.Proto):
		return socket{}, errors.New("proto must be tcp, tcp6, udp or udp6")
	case recorded.Proto != nil:
		s.proto = *recorded.Proto
	case recorded.Family == 0 || recorded.Type == 0:
		return socket{}, errors.New("it must have proto, or family and type")
	default:
		s.proto = typeOf(recorded.Family, recorded.Type)
	}
	s.Status = readStatus(s.proto, s.Status)
	if s.Pid == 0 && (s.Status == "TIME_WAIT" || s.Status == "SYN_RECV") {
		s.Pid = -1 // no process holds these
	}
	if s.Pid < 0 {
		s.process = nothing
	}
	switch {
	case len(s.Uids) > 0 && s.Uids[0] >= 0:
		s.user = strconv.Itoa(int(s.Uids[0]))
	case len(s.Uids) > 0 || s.Pid < 0:
		s.user, s.Uids = nothing, nil
	default:
		s.user = hidden
	}
	s.Laddr, s.Raddr = recordedAddress(recorded.Local), recordedAddress(recorded.Remote)
	if s.Raddr.Port == 0 {
		s.Raddr.IP = nothing
	}
	return s, nil
}

// recordedAddress returns the address in its usual form, or what stands for one
// that is not recorded.
func recordedAddress(recorded *net.Addr) net.Addr {
	if recorded == nil {
		return net.Addr{IP: hidden, Port: portHidden}
	}
	return net.Addr{IP: usualText(recorded.IP), Port: recorded.Port}
}

// check returns an error where the recording says that its reading failed.
func (r *fixture) check() error {
	failed := errors.New("the recording says that its reading failed")
	if r.exitCode != 0 {
		return failed
	}
	if r.errorsPath == "" {
		return nil
	}
	file, err := openRecording(r.errorsPath)
	if err != nil {
		return err
	}
	defer file.Close()
	switch n, err := file.Read(make([]byte, 1)); {
	case n > 0:
		return failed
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("the recording %s cannot be read: %w", quote(r.errorsPath), cause(err))
	}
	return nil
}

// openRecording opens a regular file: any other could hold up the check or
// never end.
func openRecording(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	var file *os.File
	if err == nil {
		file, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("the recording %s cannot be opened: %w", quote(path), cause(err))
	}
	return file, nil
}
