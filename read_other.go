//go:build !linux && !windows && !darwin && !freebsd

package main

import (
	"context"
	"fmt"
)

// host is a system whose sockets nothing reads as they are.
type host struct{}

func openHost(*Config) (*host, error) { return nil, fmt.Errorf("not supported on %s", thisSystem) }

func (*host) dumps(context.Context, []*tally) []dump { return nil }

func (*host) limits(func(limitRow) bool) ([]limit, error) { return nil, nil }
