package main

// The servers of a site and how each is called. All of them run as the site's own root.

func server(name string, flags ...string) process {
	return process{name: name, argv: append([]string{binDir + "/" + name}, flags...)}
}

func etcd() process {
	return server("etcd",
		"--name=site", "--data-dir=/var/lib/etcd",
		"--listen-client-urls=https://127.0.0.1:2379", "--advertise-client-urls=https://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=site=http://127.0.0.1:2380",
		"--cert-file="+pkiDir+"/etcd.crt", "--key-file="+pkiDir+"/etcd.key",
		"--client-cert-auth", "--trusted-ca-file="+pkiDir+"/etcd-ca.crt",
		"--log-level=warn",
	)
}

func containerd() process {
	return process{name: "containerd", argv: []string{"containerd", "--config", configDir + "/containerd.toml"}}
}

func apiserver(s site) process {
	return server("kube-apiserver",
		"--advertise-address="+s.Address, "--secure-port=6443", "--allow-privileged=true",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--client-ca-file="+pkiDir+"/ca.crt", "--tls-cert-file="+pkiDir+"/apiserver.crt", "--tls-private-key-file="+pkiDir+"/apiserver.key",
		"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile="+pkiDir+"/etcd-ca.crt",
		"--etcd-certfile="+pkiDir+"/etcd-client.crt", "--etcd-keyfile="+pkiDir+"/etcd-client.key",
		"--kubelet-certificate-authority="+pkiDir+"/ca.crt", "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate="+pkiDir+"/apiserver-kubelet.crt", "--kubelet-client-key="+pkiDir+"/apiserver-kubelet.key",
		// Without the front proxy's authority controller-manager and scheduler complain for ever that they cannot delegate.
		"--requestheader-client-ca-file="+pkiDir+"/front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+pkiDir+"/front-proxy.crt", "--proxy-client-key-file="+pkiDir+"/front-proxy.key",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+pkiDir+"/service-accounts.pub", "--service-account-signing-key-file="+pkiDir+"/service-accounts.key",
		"--service-cluster-ip-range="+s.addresses.services.String(),
	)
}

func controllerManager() process {
	return server("kube-controller-manager",
		"--bind-address=127.0.0.1", "--leader-elect=false", "--use-service-account-credentials",
		"--kubeconfig="+configDir+"/controller-manager.kubeconfig",
		"--authentication-kubeconfig="+configDir+"/controller-manager.kubeconfig",
		"--authorization-kubeconfig="+configDir+"/controller-manager.kubeconfig",
		"--root-ca-file="+pkiDir+"/ca.crt", "--service-account-private-key-file="+pkiDir+"/service-accounts.key",
		"--cluster-signing-cert-file="+pkiDir+"/ca.crt", "--cluster-signing-key-file="+pkiDir+"/ca.key",
		"--requestheader-client-ca-file="+pkiDir+"/front-proxy-ca.crt",
	)
}

func scheduler() process {
	return server("kube-scheduler",
		"--bind-address=127.0.0.1", "--leader-elect=false",
		"--kubeconfig="+configDir+"/scheduler.kubeconfig",
		"--authentication-kubeconfig="+configDir+"/scheduler.kubeconfig",
		"--authorization-kubeconfig="+configDir+"/scheduler.kubeconfig",
	)
}

func kubelet(s site) process {
	return server("kubelet",
		"--config="+configDir+"/kubelet.yaml", "--kubeconfig="+configDir+"/kubelet.kubeconfig",
		"--hostname-override="+s.Name, "--node-ip="+s.Address,
	)
}

func kubeProxy() process { return server("kube-proxy", "--config="+configDir+"/kube-proxy.yaml") }

func coredns() process { return server("coredns", "-conf", configDir+"/Corefile") }
