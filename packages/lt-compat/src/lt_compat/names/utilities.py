"""The utilities of Lightning's Trainer side."""

from typing import Final

from lt_compat.names.entries import Names, missing, owned

_RANK_ZERO = owned(
    "lt_interfaces.rank_zero", "rank_zero_deprecation", "rank_zero_info", "rank_zero_only", "rank_zero_warn"
)
_MORE_RANK_ZERO = (
    owned("lt_interfaces.rank_zero", "WarningCache", "rank_prefixed_message", "rank_zero_debug")
    | owned("builtins", LightningDeprecationWarning="DeprecationWarning")
    | owned("lightning_utilities.core", rank_zero_module="rank_zero")
)
_ATTRIBUTES = owned("lt_interfaces.hyperparameters", "AttributeDict")
_COMBINED = owned("lt_fabric.data", "CombinedLoader")
_ENUM = owned("lightning_utilities.core.enums", LightningEnum="StrEnum")
_CLIPPING = owned("lt_interfaces.clipping", "GradClipAlgorithmType")
_ERRORS = owned("lt_interfaces.errors", "MisconfigurationException", "SIGTERMException")
_GRADS = owned("lt_core", "grad_norm")
_MOVING = owned("lt_interfaces.moving", "move_data_to_device")
_QUIET = owned("lt_interfaces.errors", "disable_possible_user_warnings")
_PICKLING = owned("lt_fabric.pickling", "is_picklable")
_SHARED = owned("lt_fabric.shared_filesystem", "is_shared_filesystem")
_TIED = owned("lt_fabric.tied_parameters", "find_shared_parameters", "set_shared_parameters")
_FLOPS = owned("lt_interfaces.throughput", "measure_flops")
_WORKERS = owned("lt_fabric.data", suggested_max_num_workers="suggested_num_workers")
_MIGRATION = missing(
    "Files of older versions are translated in memory by `load_from_checkpoint` and `trainer.fit(ckpt_path=...)`.",
    "migrate_checkpoint",
    "pl_legacy_patch",
)
_SUMMARY = (
    owned("lt_callbacks.module_summary", "ModelSummary", summarize="ModelSummary")
    | owned("lt_callbacks.model_summary", parse_batch_shape="shape_of")
    | owned("lt_callbacks.summary_tables", get_human_readable_count="readable_number")
    | missing("`ModelSummary(module).summarize()` returns the rows.", "LayerSummary")
    | missing('Write `f"{size:,.3f}"`.', "get_formatted_model_size")
)
_DEEPSPEED_SUMMARY = missing(
    "`ModelSummary` summarizes any module.", "DeepSpeedLayerSummary", "DeepSpeedSummary", "deepspeed_param_size"
)
_MEMORY = (
    owned("lt_callbacks.out_of_memory", "is_oom_error", garbage_collection_cuda="free_memory")
    | owned("lt_fabric.tensor_conversion", "recursive_detach")
    | missing(
        "`is_oom_error` says whether memory has run out, wherever.",
        "is_cuda_out_of_memory",
        "is_cudnn_snafu",
        "is_out_of_cpu_memory",
    )
)
_PARSING = (
    _ATTRIBUTES
    | _PICKLING
    | owned("lt_core.attribute_holders", "lightning_getattr", "lightning_hasattr", "lightning_setattr")
    | owned("lt_interfaces.hyperparameters", get_init_args="arguments_in")
    | missing("Call `self.save_hyperparameters()`, which `HyperparametersMixin` brings.", "save_hyperparameters")
    | missing("`lt_interfaces.hyperparameters.arguments_in` reads the arguments of one frame.", "collect_init_args")
    | missing("`inspect.signature` says what `__init__` takes.", "parse_class_init_keys")
    | missing("`lt_fabric.pickling.is_picklable` says which values to leave out.", "clean_namespace")
)
_IS_INSTALLED = "`importlib.util.find_spec` says whether a package is there."
_IS_NEW_ENOUGH = "Compare `packaging.version.Version(torch.__version__)`."
_TYPES = owned(
    "lt_core.types",
    "EVAL_DATALOADERS",
    "LRSchedulerConfig",
    "LRSchedulerConfigType",
    "LRSchedulerPLType",
    "LRSchedulerType",
    "LRSchedulerTypeTuple",
    "LRSchedulerTypeUnion",
    "OptimizerConfig",
    "OptimizerLRScheduler",
    "OptimizerLRSchedulerConfig",
    "STEP_OUTPUT",
    "TRAIN_DATALOADERS",
    _EVALUATE_OUTPUT="EVALUATE_OUTPUT",
    _METRIC="METRIC",
    _NUMBER="NUMBER",
    _PREDICT_OUTPUT="PREDICT_OUTPUT",
) | owned("torch.nn.parallel", "DistributedDataParallel")

MODULES: Final[dict[str, Names]] = {
    "pytorch.utilities": _RANK_ZERO
    | _ATTRIBUTES
    | _COMBINED
    | _CLIPPING
    | _GRADS
    | _MOVING
    | _ENUM
    | _QUIET
    | _PICKLING
    | _SHARED
    | _TIED
    | _FLOPS
    | _WORKERS
    | missing("Take `torch.finfo(dtype).eps`.", "FLOAT16_EPSILON", "FLOAT32_EPSILON", "FLOAT64_EPSILON"),
    "pytorch.utilities.combined_loader": _COMBINED,
    "pytorch.utilities.compile": owned("lt_core.compiled", to_uncompiled="unwrap_compiled")
    | missing("Pass what `torch.compile` returned to the Trainer.", "from_compiled"),
    "pytorch.utilities.consolidate_checkpoint": {},
    "pytorch.utilities.data": owned("lt_fabric.data", "extract_batch_size")
    | missing("The Trainer compares the ranks' loaders; `lt_fabric.data.sized_len` measures one.", "has_len_all_ranks"),
    "pytorch.utilities.deepspeed": owned("lt_deepspeed", "convert_zero_checkpoint_to_fp32_state_dict")
    | missing("The newest checkpoint's name is in the folder's file `latest`.", "ds_checkpoint_dir"),
    "pytorch.utilities.enums": _CLIPPING | _ENUM,
    "pytorch.utilities.exceptions": _ERRORS,
    "pytorch.utilities.grads": _GRADS,
    "pytorch.utilities.imports": missing(
        _IS_INSTALLED, "_OMEGACONF_AVAILABLE", "_RICH_AVAILABLE", "_TORCHVISION_AVAILABLE"
    )
    | missing(_IS_NEW_ENOUGH, "_TORCH_EQUAL_2_8", "_TORCH_EQUAL_2_9", "_TORCH_GREATER_EQUAL_2_6"),
    "pytorch.utilities.memory": _MEMORY,
    "pytorch.utilities.migration": _MIGRATION,
    "pytorch.utilities.migration.utils": _MIGRATION,
    "pytorch.utilities.model_helpers": owned("lt_core.hook_groups", "is_overridden")
    | missing("`torchvision.models.get_model` makes a model by its name.", "get_torchvision_model"),
    "pytorch.utilities.model_summary": _SUMMARY | _DEEPSPEED_SUMMARY,
    "pytorch.utilities.model_summary.model_summary": _SUMMARY,
    "pytorch.utilities.model_summary.model_summary_deepspeed": _DEEPSPEED_SUMMARY,
    "pytorch.utilities.parameter_tying": _TIED,
    "pytorch.utilities.parsing": _PARSING,
    "pytorch.utilities.rank_zero": _RANK_ZERO | _MORE_RANK_ZERO,
    "pytorch.utilities.seed": owned("lt_interfaces.rng", "isolate_rng", "reset_seed", "seed_everything")
    | owned("lt_interfaces.rng", pl_worker_init_function="seed_worker"),
    "pytorch.utilities.types": _TYPES,
    "pytorch.utilities.upgrade_checkpoint": missing(
        "Files of older versions load as they are; nothing has to be rewritten, as `load_from_checkpoint` shows.",
        "main",
    ),
    "pytorch.utilities.warnings": owned("lt_interfaces.errors", "PossibleUserWarning"),
}
