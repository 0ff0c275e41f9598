package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/shirou/gopsutil/v3/net"
)

// Recording is what --test judges in place of the live system: what a reading
// printed on its outputs, and its exit code.
type Recording struct {
	Path       string // a JSON array of connections
	ErrorsPath string // a file that is empty unless the reading failed; may be ""
	ExitCode   int
}

// recordedConnection is an element of a recording: a gopsutil connection as it
// marshals itself, or only the name of the type and the status.
type recordedConnection struct {
	net.ConnectionStat
	Local  *net.Addr `json:"localaddr"`
	Remote *net.Addr `json:"remoteaddr"`
	Proto  *string   `json:"proto"`
}

// records yields the connections of the recording one by one.
//
// The errors name the files but never show what is in them: the check may run
// with more rights than the one who chose the path.
func (r *Recording) records() iter.Seq2[net.ConnectionStat, error] {
	return func(yield func(net.ConnectionStat, error) bool) {
		if err := r.each(func(connection net.ConnectionStat) bool { return yield(connection, nil) }); err != nil {
			yield(net.ConnectionStat{}, err)
		}
	}
}

// each calls yield with each connection until it returns false.
func (r *Recording) each(yield func(net.ConnectionStat) bool) error {
	if err := r.failed(); err != nil {
		return err
	}
	file, err := openRecording(r.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	malformed := func(what string, position int64) error {
		return fmt.Errorf("the recording %s is malformed at byte %d: %s", quote(r.Path), position, what)
	}

	decoder := json.NewDecoder(file)
	if token, err := decoder.Token(); err != nil || token != json.Delim('[') {
		return malformed("it must be a JSON array of connections", decoder.InputOffset())
	}
	for decoder.More() {
		position := decoder.InputOffset()
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return malformed("it is not valid JSON", position)
		}
		connection, err := parseRecorded(raw)
		if err != nil {
			return malformed(err.Error(), position)
		}
		if !yield(connection) {
			return nil
		}
	}
	if _, err := decoder.Token(); err != nil {
		return malformed("the array does not end", decoder.InputOffset())
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return malformed("something follows the array", decoder.InputOffset())
	}
	return nil
}

// parseRecorded reads one element of a recording. Its errors tell nothing of
// what the element holds.
func parseRecorded(raw []byte) (net.ConnectionStat, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return net.ConnectionStat{}, errors.New("a connection must be an object")
	}
	var recorded recordedConnection
	if err := json.Unmarshal(raw, &recorded); err != nil {
		return net.ConnectionStat{}, errors.New("a field of a connection has a value of the wrong kind")
	}
	recorded.Laddr, recorded.Raddr = addressOr(recorded.Local), addressOr(recorded.Remote)
	if recorded.Proto == nil {
		if recorded.Family == 0 || recorded.Type == 0 {
			return net.ConnectionStat{}, errors.New("a connection must have proto, or family and type")
		}
		return recorded.ConnectionStat, nil
	}
	index := slices.Index(socketTypes, *recorded.Proto)
	if index < 0 {
		return net.ConnectionStat{}, errors.New("proto must be tcp, tcp6, udp or udp6")
	}
	recorded.Family = []uint32{afInet, afInet6[0], afInet, afInet6[0]}[index]
	recorded.Type = []uint32{sockStream, sockStream, sockDgram, sockDgram}[index]
	return recorded.ConnectionStat, nil
}

// addressOr returns the address, or what stands for one that is not recorded.
func addressOr(address *net.Addr) net.Addr {
	if address == nil {
		return net.Addr{IP: unseen, Port: portUnseen}
	}
	return *address
}

// failed returns an error where the recording stands for a failed reading.
func (r *Recording) failed() error {
	failure := errors.New("the recording stands for a failed reading")
	if r.ExitCode != 0 {
		return failure
	}
	if r.ErrorsPath == "" {
		return nil
	}
	file, err := openRecording(r.ErrorsPath)
	if err != nil {
		return err
	}
	defer file.Close()
	switch n, err := file.Read(make([]byte, 1)); {
	case n > 0:
		return failure
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("the recording %s cannot be read: %w", quote(r.ErrorsPath), cause(err))
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

// cause returns what went wrong with a file, without the path that the error of
// the os package repeats.
func cause(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
