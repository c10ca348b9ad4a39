// Command addons holds what a cluster needs beside Kubernetes itself: CoreDNS
// and metrics-server, which run in pods, and the engine of
// kube-network-policies, which runs on the node. The first argument names one.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/coredns/coredns/coremain"
	// The plugins that coredns.yaml names; the full set pulls in clouds' clients.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	metrics "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("name one of coredns, metrics-server, network-policies"))
	}
	os.Args = os.Args[1:]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch name := os.Args[0]; name {
	case "coredns":
		// Handles signals itself.
		stop()
		coremain.Run()
	case "metrics-server":
		if err := metrics.NewMetricsServerCommand(ctx.Done()).Execute(); err != nil {
			fail(err)
		}
	case "network-policies":
		if err := enforcePolicies(ctx, os.Args[1:]); err != nil {
			fail(err)
		}
	default:
		fail(fmt.Errorf("no program %q here", name))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "addons:", err)
	os.Exit(1)
}
