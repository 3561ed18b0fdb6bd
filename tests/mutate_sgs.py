"""Break the engine in many ways, one at a time, and see that the tests notice each.

    python -m tests.mutate_sgs [words of a name]

Works on a copy of the repository. Ends with an error if a mutant survives, or if the code that it
changes is no longer there.
"""

from tests.mutation import ROOT, Mutant, main

# What takes longest last, and several processes at the very end: where one of them fails, the
# others wait for it.
LATE = {"test_compile": 1, "test_kinds": 2, "test_trainers": 3, "test_distributed": 4}
FILES = sorted((ROOT / "tests/sgs").glob("test_*.py"), key=lambda file: LATE.get(file.stem, 0))

MUTANTS = {
    "drop the last micro-batch": Mutant(
        "sgs/engine.py", "self._pace(self._repeats(subset)", "self._pace(self._repeats(subset)[:-1]"
    ),
    "skip the random state in the second pass": Mutant(
        "sgs/replay/circumstances.py",
        "self._autocast.restored(), random_state.restored(),",
        "self._autocast.restored(),",
    ),
    "leave autocast out of the second pass": Mutant(
        "sgs/replay/circumstances.py",
        "self._autocast.restored(), random_state.restored(),",
        "random_state.restored(),",
    ),
    "swap two gradients": Mutant(
        "sgs/gradients/parameters.py",
        "        gradients = [None if found is None else found.take() for found in sums]\n",
        "        gradients = [None if found is None else found.take() for found in sums]\n"
        "        shapes = [None if g is None else g.shape for g in gradients]\n"
        "        if len(shapes) > 1 and shapes[0] == shapes[1]:\n"
        "            gradients[:2] = gradients[1], gradients[0]\n",
    ),
    "weight twice": Mutant(
        "sgs/back_propagation.py", "(rows.to(wide) * factor)", "(rows.to(wide) * factor * factor)"
    ),
    "do not weight": Mutant(
        "sgs/subset.py", "return 1 / probability[index]", "return probability[index] * 0 + 1"
    ),
    "let gradients through to items that were not sampled": Mutant(
        "sgs/back_propagation.py", "    if weight is None:\n", "    if True:\n"
    ),
    "zeros for an unused parameter": Mutant(
        "sgs/gradients/parameters.py",
        "if not is_distributed():\n            return gradients",
        "if False:\n            return gradients",
    ),
    "None for an unused parameter among several processes": Mutant(
        "sgs/gradients/parameters.py", "if not is_distributed():\n", "if True:\n"
    ),
    "call what DDP wraps past its wrapper": Mutant(
        "sgs/distributed.py",
        "if not isinstance(encoder, DistributedDataParallel):\n        return function",
        "if True:\n        return function",
    ),
    "gather on the real parameters": Mutant(
        "sgs/gradients/parameters.py",
        "setattr(module, name, alias)",
        "setattr(module, name, module._parameters[name])",
    ),
    "do not restore the parameters": Mutant(
        "sgs/gradients/parameters.py",
        "                setattr(module, name, parameter)\n",
        "                pass\n",
    ),
    "update the statistics of BatchNorm twice": Mutant(
        "sgs/replay/circumstances.py",
        "with self._buffers.kept(), self._attributes.kept():",
        "with self._attributes.kept():",
    ),
    "do not rewind buffers": Mutant(
        "sgs/replay/buffers.py",
        "        self._put_back(self._saved, keep=self._running)\n        yield\n",
        "        yield\n",
    ),
    "accept buffers that follow the items": Mutant(
        "sgs/replay/buffers.py", "and not _are_equal(self._changes, changes)", "and False"
    ),
    "do not rewind attributes": Mutant(
        "sgs/replay/circumstances.py", "        self._attributes.rewind()\n", ""
    ),
    "do not replay Python's random numbers": Mutant(
        "sgs/replay/random_numbers.py",
        "    sources.append(Source(random.getstate, random.setstate, is_shared=True))\n",
        "",
    ),
    "do not replay NumPy's random numbers": Mutant(
        "sgs/replay/random_numbers.py", 'if numpy := sys.modules.get("numpy"):', "if numpy := None:"
    ),
    "do not replay generators of modules": Mutant(
        "sgs/replay/random_numbers.py",
        "for source in held if source is not None",
        "for source in ()",
    ),
    "regroup although random numbers were drawn": Mutant(
        "sgs/micro_batches.py", " or any(m.drew for m in micro_batches)", ""
    ),
    "compare nothing": Mutant(
        "sgs/replay/feature_check.py", "if worst > self._tolerance:", "if False:"
    ),
    "overlook foreign parameters": Mutant(
        "sgs/gradients/graph.py", "id(leaf) not in expected", "False"
    ),
    "overlook modified values": Mutant(
        "sgs/replay/unchanged.py",
        "if now[name] != version]",
        "if now[name] < 0]",
    ),
    "take the gradients of other items": Mutant(
        "sgs/back_propagation.py",
        "rows = gradient[index.to(gradient.device)]",
        "rows = gradient[index.to(gradient.device).flip(0)]",
    ),
    "overwrite the gradients of shared tensors' micro-batches": Mutant(
        "sgs/gradients/arguments.py",
        "requires_grad_(needs(t)) for t in call.shared_tensors",
        "requires_grad_(False) for t in call.shared_tensors",
    ),
    "processes do not wait for each other": Mutant(
        "sgs/distributed.py", "return int(largest) - count", "return 0"
    ),
    "put back sources that were not drawn from": Mutant(
        "sgs/replay/random_numbers.py", "if drew or not entry[0].is_shared", "if True"
    ),
    "leave what containers hold": Mutant(
        "sgs/replay/attributes.py",
        "        if not _holds(container, content):",
        "        if False:",
    ),
    "overlook buffers that change without a version": Mutant(
        "sgs/replay/buffers.py",
        "self._uncounted = self._changed_without_version()",
        "self._uncounted = set()",
    ),
    "overlook buffers that change without a version, later": Mutant(
        "sgs/replay/circumstances.py", "        self._buffers.check_first_pass()\n", ""
    ),
    "keep no state of sources that were set back": Mutant(
        "sgs/replay/random_numbers.py", "if drew or not entry[0].is_shared", "if drew"
    ),
    "overlook parameters that change without a version": Mutant(
        "sgs/replay/unchanged.py", " or self._modified_without_version():", ":"
    ),
    "sum half precision in half precision": Mutant(
        "sgs/gradients/gradient_sum.py", "leaf.itemsize < 4", "leaf.itemsize < 2"
    ),
    "overlook what trains behind a frozen encoder": Mutant(
        "sgs/inference.py", "        if torch.is_grad_enabled():", "        if False:"
    ),
    "hide the encoder's buffers from DDP": Mutant(
        "sgs/distributed.py", '("_parameters", "_buffers", "_modules", "training")', "()"
    ),
    "accept flat parameters": Mutant("sgs/options.py", "    refuse_flat_parameters(encoder)\n", ""),
    "accept lists with one constant per item": Mutant(
        "sgs/items/arguments.py", "len(node) == num_items > 4", "False"
    ),
    "accept repeated positions": Mutant(
        "sgs/subset.py", "if not bool((index.diff(dim=1) > 0).all()):", "if False:"
    ),
    "give zeros to items that are not used": Mutant(
        "sgs/gradients/arguments.py",
        "            if cut.grad is None:\n",
        "            if False:\n",
    ),
    "scale by all items for every micro-batch": Mutant(
        "sgs/replay/feature_check.py",
        "second, first, scales=self._scales)",
        "second, first, scales=[None if x is None else _scale(x) for x in self._rows])",
    ),
    "compare with what an earlier backward compared": Mutant(
        "sgs/replay/feature_check.py", "        self._compared.clear()\n", "        pass\n"
    ),
    "alias frozen parameters": Mutant(
        "sgs/gradients/parameters.py", "(wanted or parameter.requires_grad)", "True"
    ),
    "forget the attributes of parameters": Mutant(
        "sgs/gradients/parameters.py", "        vars(alias).update(vars(parameter))\n", ""
    ),
    "let torch.compile look into the call": Mutant(
        "sgs/sampler.py",
        "    @torch.compiler.disable  # type: ignore[untyped-decorator]\n    def forward",
        "    def forward",
    ),
    "let the explicit backward pass DDP by": Mutant(
        "sgs/sampler.py", "        refuse_explicit_backward(self.encoder)\n", ""
    ),
    "encode kept micro-batches again": Mutant(
        "sgs/engine.py",
        "group.take_graph() or self._repeated(group, next(fetches))",
        "self._repeated(group, None)",
    ),
    "keep more graphs than asked for": Mutant(
        "sgs/engine.py", "kept = set(repeating[:num_kept])", "kept = set(repeating)"
    ),
    "back-propagate twice through items of kept graphs": Mutant(
        "sgs/micro_batches.py", "        sampled[micro_batch.index] = False\n", "        pass\n"
    ),
    "keep graphs without the gradients of items": Mutant(
        "sgs/encoder_calls.py", "                stack.enter_context(torch.enable_grad())\n", ""
    ),
    "leave the gradients of a failed backward": Mutant(
        "sgs/engine.py", "        self._parameters.restart()\n", ""
    ),
    "let processes keep other numbers of graphs": Mutant(
        "sgs/distributed.py", "return count - missing_calls(parameters, -count)", "return count"
    ),
    "repeat kept micro-batches, too": Mutant(
        "sgs/micro_batches.py",
        "rest = [m for m in micro_batches if not m.graph]",
        "rest = micro_batches",
    ),
    "begin the second pass in front of the stem": Mutant(
        "sgs/encoder_calls.py", "                before = self._world.random_state()\n", ""
    ),
    "take a random state from before the stem drew": Mutant(
        "sgs/encoder_calls.py", "None if before.without_undrawn()[1] else idle", "idle"
    ),
    "run the stem again": Mutant(
        "sgs/encoder_calls.py", "            if self._stem is None:", "            if True:"
    ),
    "keep no copy of the stem's outputs": Mutant(
        "sgs/items/stem_cache.py", "is None else device, copy=True)", "is None else device)"
    ),
    "leave rows of the stem in the order of micro-batches": Mutant(
        "sgs/items/stem_cache.py", "if isinstance(x, Tensor) and len(parts) > 1", "if False"
    ),
    "lose the gradients of a stem": Mutant(
        "sgs/items/frozen_stem.py", "            if names:\n", "            if False:\n"
    ),
    "lose the gradients of what a stem receives": Mutant(
        "sgs/items/frozen_stem.py",
        "if any(tensor.requires_grad for tensor in call.tensors)",
        "if False",
    ),
    "leave the stem out of what is watched": Mutant(
        "sgs/sampler.py", "validate_call(self.front.before(encoder)", "validate_call(encoder"
    ),
    "leave preprocessing out of the second pass": Mutant(
        "sgs/encoder_calls.py",
        "            if self._stem is None:\n                args, kwargs = self._front",
        "            if False:\n                args, kwargs = self._front",
    ),
    "fetch everything before the first call": Mutant(
        "sgs/items/source.py",
        "        for index in groups:\n",
        "        list(map(fetch, groups))\n        for index in groups:\n",
    ),
    "yield the micro-batch that was fetched before": Mutant(
        "sgs/items/source.py",
        "                yield present.result()",
        "                yield thread.submit(fetch, groups[0]).result()",
    ),
    "hide why a source failed": Mutant(
        "sgs/items/source.py", "        ) from error", "        ) from None"
    ),
    "accept sources with other rows than asked for": Mutant(
        "sgs/items/source.py", "x.shape[:1] == index.shape for x in leaves", "True for x in leaves"
    ),
    "keep the maps of frozen batch normalization": Mutant(
        "sgs/batch_norm.py", "if trains or not features.requires_grad:", "if True:"
    ),
    "train nothing of frozen batch normalization": Mutant(
        "sgs/batch_norm.py", "if trains or not features.requires_grad:", "if False:"
    ),
    "leave the scale out of frozen batch normalization": Mutant(
        "sgs/batch_norm.py", "factor if weight is None else weight * factor", "factor"
    ),
    "round the scale of frozen batch normalization": Mutant(
        "sgs/batch_norm.py", "gradient * factor,", "gradient * factor.to(gradient.dtype),"
    ),
    "accept shards with a root outside": Mutant(
        "sgs/distributed.py", "._is_root is False", "._is_root is None and False"
    ),
}

if __name__ == "__main__":
    main(MUTANTS, [*(str(file.relative_to(ROOT)) for file in FILES), "-k", "not compile-"])
