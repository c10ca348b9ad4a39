package main

import (
	"context"
	"flag"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

// queue is the NFQUEUE from which packets are taken; init.sh sends them there.
const queue = 100

// enforcePolicies answers for each new connection whether NetworkPolicies allow
// it, until ctx ends.
//
// kube-network-policies' own command loads nftables rules that send it the
// packets. Many kernels lack the queue of nftables (CONFIG_NFT_QUEUE) and have
// the one of iptables, so here init.sh makes the rule, and the engine alone is
// taken from there. The rules that it tries to load all the same fail with a
// line in its log, or send a packet to the same queue twice: no harm either way.
func enforcePolicies(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("network-policies", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to reach the API server")
	node := flags.String("node", "", "name of this node")
	flags.Parse(args) //nolint:errcheck // It exits on an error.

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	all := informers.NewSharedInformerFactory(client, 0)
	engine, err := networkpolicy.NewController(
		client,
		all.Networking().V1().NetworkPolicies(),
		all.Core().V1().Namespaces(),
		all.Core().V1().Pods(),
		// Only AdminNetworkPolicies need the rest.
		nil, nil, nil, nil,
		// Not without NRI, though containerd before 1.7 has none: told to do without, it panics at the
		// first address that is no pod's. Where it finds none, it says so and goes on.
		networkpolicy.Config{NodeName: *node, QueueID: queue},
	)
	if err != nil {
		return err
	}
	all.Start(ctx.Done())
	return engine.Run(ctx)
}
